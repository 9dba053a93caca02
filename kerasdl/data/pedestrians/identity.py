"""Who a drawn person is: attributes from small shared palettes, so that no single one of them names anybody.

After the lessons of RandPerson (Wang et al. 2020) and UnrealPerson (Zhang et al. 2021, arXiv:2012.04268): many identities,
accessories, and groups of look-alikes that differ in one or two attributes. Every value of every attribute is worn by at least
one person in twenty.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Shared palettes, sRGB 0..255. Names are what a ranked strip or an attribute head may print.
SKIN = {"light": (241, 205, 179), "fair": (224, 176, 144), "tan": (193, 140, 102), "brown": (142, 95, 66), "dark": (93, 62, 46)}
HAIR = {"black": (34, 30, 32), "brown": (80, 54, 38), "auburn": (124, 62, 34), "blond": (205, 166, 104), "grey": (158, 156, 154)}
CLOTH = {
    "black": (38, 38, 43),
    "white": (232, 230, 224),
    "grey": (134, 137, 142),
    "navy": (42, 54, 96),
    "blue": (58, 112, 186),
    "red": (184, 44, 46),
    "green": (58, 118, 76),
    "yellow": (222, 180, 62),
    "pink": (222, 138, 160),
    "beige": (198, 174, 138),
}
BOTTOM = {name: CLOTH[name] for name in ("black", "grey", "navy", "beige", "white", "green")} | {
    "denim": (80, 108, 152),
    "brown": (104, 76, 56),
}
SHOE = {name: CLOTH[name] for name in ("black", "white", "red", "grey")} | {"brown": (112, 78, 52)}
BAG = {name: CLOTH[name] for name in ("black", "red", "blue", "green", "grey")} | {"brown": (130, 88, 54)}

# Attribute: value -> share of the people who carry it.
CHOICES: dict[str, dict[str, float]] = {
    "skin": dict.fromkeys(SKIN, 0.2),
    "hair_colour": {"black": 0.3, "brown": 0.3, "auburn": 0.13, "blond": 0.15, "grey": 0.12},
    "hair": {"crop": 0.26, "short": 0.22, "bob": 0.16, "long": 0.16, "ponytail": 0.1, "bun": 0.1},
    "hat": {"none": 0.7, "cap": 0.1, "beanie": 0.1, "brim": 0.1},
    "top": {"tshirt": 0.24, "shirt": 0.22, "jacket": 0.2, "hoodie": 0.18, "coat": 0.16},
    "top_colour": dict.fromkeys(CLOTH, 0.1),
    "second_colour": dict.fromkeys(CLOTH, 0.1),
    "texture": {"solid": 0.34, "stripe": 0.16, "check": 0.12, "logo": 0.16, "dots": 0.1, "block": 0.12},
    "bottom": {"trousers": 0.3, "slim": 0.24, "shorts": 0.22, "skirt": 0.24},
    "bottom_colour": dict.fromkeys(BOTTOM, 0.125),
    "shoe": {"low": 0.7, "boot": 0.3},
    "shoe_colour": dict.fromkeys(SHOE, 0.2),
    "bag": {"none": 0.36, "backpack": 0.22, "satchel": 0.16, "handbag": 0.16, "trolley": 0.1},
    "bag_colour": {"black": 0.25, "red": 0.15, "blue": 0.15, "green": 0.15, "grey": 0.15, "brown": 0.15},
    "side": {"left": 0.5, "right": 0.5},
    "glasses": {"no": 0.8, "yes": 0.2},
}
# The second domain dresses for indoors: the same values, other shares.
INDOORS = {
    "hat": {"none": 0.82, "cap": 0.06, "beanie": 0.06, "brim": 0.06},
    "top": {"tshirt": 0.34, "shirt": 0.3, "jacket": 0.14, "hoodie": 0.14, "coat": 0.08},
    "bag": {"none": 0.34, "backpack": 0.12, "satchel": 0.2, "handbag": 0.28, "trolley": 0.06},
}
DRESS = {"street": CHOICES, "mall": CHOICES | INDOORS}
# What a look-alike may change: always something that a picture can show.
TELLING = ("hair", "hat", "top_colour", "texture", "bottom", "bottom_colour", "shoe_colour", "bag", "top")
# What an attribute head learns: things that are worn or carried and can be seen from most sides. Skin is none of them.
WORN = ("bag", "bottom", "bottom_colour", "hair", "hat", "texture", "top", "top_colour")
GROUPS = {1: 0.72, 2: 0.16, 3: 0.08, 4: 0.04}  # sizes of the groups of look-alikes: half of the people have one


@dataclasses.dataclass(frozen=True)
class Identity:
    """What stays the same on all pictures of a person: one value of each of `CHOICES`, and the proportions.

    height: stature relative to the mean (0.92..1.06). build: width of trunk and limbs relative to the mean (0.86..1.22).
    shoulders: width of the shoulders relative to the mean (0.9..1.1). print: number of the logo on the chest (0..3).
    """

    skin: str
    hair_colour: str
    hair: str
    hat: str
    top: str
    top_colour: str
    second_colour: str
    texture: str
    bottom: str
    bottom_colour: str
    shoe: str
    shoe_colour: str
    bag: str
    bag_colour: str
    side: str
    glasses: str
    height: float
    build: float
    shoulders: float
    print: int

    @property
    def attributes(self) -> dict[str, str]:
        """The named attributes, of which an attribute head learns those of `WORN`."""
        return {name: getattr(self, name) for name in CHOICES}


def people(count: int, seed: int, domain: str = "street") -> tuple[Identity, ...]:
    """`count` different identities, look-alikes next to each other; fewer of the same seed are the first of them."""
    random = np.random.default_rng([seed, sorted(DRESS).index(domain)])
    found: dict[tuple[str, ...], Identity] = {}
    while len(found) < count:
        first = _anybody(random, domain)
        size = int(random.choice(list(GROUPS), p=list(GROUPS.values())))
        for member in [first, *(_look_alike(first, random, domain) for _ in range(size - 1))]:
            found.setdefault(tuple(member.attributes.values()), member)
    return tuple(found.values())[:count]


def _anybody(random: np.random.Generator, domain: str) -> Identity:
    values = {name: _draw(random, shares) for name, shares in DRESS[domain].items()}
    while values["second_colour"] == values["top_colour"]:  # or a stripe would be solid
        values["second_colour"] = _draw(random, DRESS[domain]["second_colour"])
    height, build, shoulders = (float(x) for x in random.uniform((0.92, 0.86, 0.9), (1.06, 1.22, 1.1)))
    return Identity(**values, height=height, build=build, shoulders=shoulders, print=int(random.integers(4)))


def _look_alike(person: Identity, random: np.random.Generator, domain: str) -> Identity:
    changed: dict[str, str] = {}
    for name in random.choice(TELLING, size=int(random.integers(1, 3)), replace=False):
        taken = (getattr(person, name), person.second_colour)
        changed[name] = _draw(random, {value: p for value, p in DRESS[domain][name].items() if value not in taken})
    return dataclasses.replace(person, **changed)


def _draw(random: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(random.choice(list(shares), p=weights / weights.sum()))
