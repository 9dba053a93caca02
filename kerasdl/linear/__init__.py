"""What is learnt without descending a gradient: ridge regression in closed form, the perceptron's rule, nearest neighbours."""

from kerasdl.linear.cross_validation import Errors, cross_validate, folds
from kerasdl.linear.degree import choose_degree
from kerasdl.linear.neighbours import nearest_neighbours
from kerasdl.linear.perceptron import learn_perceptron, perceptron
from kerasdl.linear.ridge import Ridge, solve_head, solve_ridge

__all__ = [
    "Errors",
    "Ridge",
    "choose_degree",
    "cross_validate",
    "folds",
    "learn_perceptron",
    "nearest_neighbours",
    "perceptron",
    "solve_head",
    "solve_ridge",
]
