"""Small Keras layers that stock Keras lacks, one idea per file. Importing this package registers all of them for loading."""
