#!/bin/sh
# Print the first Python that TensorFlow supports (3.11 to 3.13) and that can make a virtual environment, or say in a sentence what is missing.
# Usage: find_python.sh [CANDIDATE]
found=""
lacks_venv=""
for name in ${1:-python3.13 python3.12 python3.11 python3 python}; do
    version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case "$version" in
    3.11 | 3.12 | 3.13) ;;
    *) found="$found $name is $version;" && continue ;;
    esac
    if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v "$name"
        exit 0
    fi
    lacks_venv="$name"
done
if [ -n "$lacks_venv" ]; then
    echo "$lacks_venv cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
else
    echo "kerasdl needs Python 3.11, 3.12 or 3.13, TensorFlow's range (name one with PYTHON=...). Received:${found:- no Python}" >&2
fi
exit 1
