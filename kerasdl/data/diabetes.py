"""Diabetes (Efron et al. 2004, Annals of Statistics 32, 407-499): 442 patients, ships with scikit-learn, no download.

Ten measurements, raw, and the progression of the disease one year later, a number without a unit. Fixed held-out fifth (89).
"""

from __future__ import annotations

from kerasdl.data.splits import Splits
from kerasdl.data.tables import Named, table_splits

# name: (what scikit-learn calls it, unit where its description has one)
COLUMNS = {
    "age": ("age", "years"),
    "sex": ("sex", ""),
    "body_mass_index": ("bmi", "kg/m²"),
    "blood_pressure": ("bp", ""),
    "total_cholesterol": ("s1", ""),
    "low_density_lipoproteins": ("s2", ""),
    "high_density_lipoproteins": ("s3", ""),
    "cholesterol_ratio": ("s4", ""),
    "log_triglycerides": ("s5", ""),
    "blood_sugar": ("s6", ""),
}


def diabetes(valid: float = 0.2, seed: int = 0) -> Splits:
    """Progression of diabetes from ten measurements, bundled with scikit-learn: 442 patients.

    `valid` of the rows outside the test split, drawn by `seed`, is the validation split.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    places = {name: bunch.feature_names.index(theirs) for name, (theirs, _) in COLUMNS.items()}
    columns = [Named(name, COLUMNS[name][1], bunch.data[:, place]) for name, place in places.items()]
    card = {
        "name": "diabetes",
        "source": "scikit-learn's bundled copy of the diabetes data of Efron et al. 2004",
        "licence": "none stated",
        "synthetic": False,
    }
    return table_splits(columns, [Named("progression", "", bunch.target)], card, valid=valid, seed=seed)
