"""The reading of learning curves: drawn ones, each with one fault, and real ones."""

import math

import numpy as np
import pytest

from kerasdl.diagnosis import diagnose


def rows(loss, accuracy=None, val_loss=None, val_accuracy=None, rate=None):
    columns = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy, "learning_rate": rate}
    present = {name: list(values) for name, values in columns.items() if values is not None}
    return [{"epoch": i + 1, **{name: values[i] for name, values in present.items()}} for i in range(len(present["loss"]))]


def falling(start, end, epochs, speed=5.0):
    """An exponential from `start` that has come down to `end`."""
    return end + (start - end) * np.exp(-speed * np.linspace(0, 1, epochs))


def only(sentences):
    assert len(sentences) == 1, sentences
    return sentences[0]


def healthy(epochs=30):
    return rows(
        falling(2.0, 0.2, epochs, 12),
        1 - falling(0.7, 0.05, epochs, 12),
        falling(2.1, 0.21, epochs, 12),
        1 - falling(0.7, 0.055, epochs, 12),
    )


def test_nothing_wrong_is_said_too():
    assert only(diagnose(healthy())) == "Nothing wrong seen in the curves."


def test_a_gap_is_overfitting_from_the_epoch_where_it_opens():
    history = healthy()
    for i, row in enumerate(history[20:]):
        row["val_accuracy"] = row["accuracy"] - 0.02 * (i + 1)
    sentence = diagnose(history)[0]
    assert sentence.startswith("It overfits clearly: accuracy is 0.950 in training and 0.750 in validation, a gap of 20.0 points")
    assert "above 3 since epoch 22" in sentence  # gaps 0.02, 0.04, ...: the smoothed one passes 0.03 there


def test_a_validation_loss_that_turns_names_the_epoch_and_what_to_do():
    history = healthy(40)
    for i, row in enumerate(history):
        row["loss"] = 2.0 * 0.9**i
        row["val_loss"] = 0.5 + 0.002 * (i - 15) ** 2
    sentence = only(diagnose(history))
    assert sentence.startswith("From epoch 16 on the validation loss rises (0.50") and "early stopping" in sentence


def test_a_flat_and_low_curve_underfits():
    history = rows(falling(2.3, 1.4, 30, 20), 1 - falling(0.9, 0.5, 30, 20), falling(2.3, 1.4, 30, 20), 1 - falling(0.9, 0.49, 30, 20))
    sentence = diagnose(history)[0]
    assert sentence.startswith("It underfits: accuracy is 0.510 at best") and "bigger model" in sentence


@pytest.mark.parametrize(("rate", "advice"), [(np.full(20, 0.1), "Train longer."), (np.linspace(0.1, 0, 20), "more epochs.")])
def test_a_curve_that_still_falls_wants_more_epochs(rate, advice):
    loss = np.linspace(2.0, 0.5, 20) ** 2 / 2
    accuracy = np.linspace(0.3, 0.8, 20)
    assert only(diagnose(rows(loss, accuracy, loss * 1.02, accuracy - 0.01, rate))).endswith(advice)


def test_no_number_any_more_is_a_rate_too_high():
    history = rows([2.0, 1.5, math.nan, math.nan], [0.3, 0.4, 0.1, 0.1], rate=[0.1, 0.5, 1.0, 1.0])
    sentence = only(diagnose(history))
    assert sentence.startswith("The loss is no number any more in epoch 3 (rate 1)") and "global_clipnorm" in sentence
    assert "from the first epoch" in only(diagnose(rows([math.inf, 1.0])))
    assert "validation loss is no number in epoch 2" in only(diagnose(rows([2.0, 1.0, 0.5], val_loss=[2.0, math.inf, 1.0])))


def test_loss_stuck_at_the_logarithm_of_the_classes():
    history = rows([math.log(10) + 0.002 * (-1) ** i for i in range(8)], [0.1, 0.099, 0.101, 0.1] * 2, rate=[3.0] * 8)
    sentence = only(diagnose(history))
    assert sentence.startswith("Nothing was learned: the loss stayed at 2.3") and "10 classes" in sentence and "(rate 3)" in sentence


def test_a_constant_loss_of_a_network_that_is_right_is_no_chance():
    assert "Nothing was learned" not in diagnose(rows([0.5] * 10, [0.9] * 10))[0]


def test_jumps_are_a_rate_too_high_but_a_restart_of_the_schedule_is_not():
    history = healthy()
    history[12]["loss"], history[11]["learning_rate"], history[12]["learning_rate"] = 1.2, 0.2, 0.2
    sentence = only(diagnose(history))
    assert sentence.startswith("The training loss jumped once, from 0.219 to 1.200 in epoch 13 (rate 0.2)")
    history[11]["learning_rate"] = 0.001
    assert only(diagnose(history)) == "Nothing wrong seen in the curves."


def test_a_slow_straight_line_is_a_rate_too_low():
    loss, accuracy = np.linspace(2.3, 2.2, 20), np.linspace(0.1, 0.2, 20)
    sentence = only(diagnose(rows(loss, accuracy, loss, accuracy, [1e-5] * 20)))
    assert sentence.startswith("It learns slowly and steadily: 20 epochs") and "(rate 1e-05)" in sentence and "too low" in sentence


def test_a_best_epoch_that_is_past():
    history = healthy()
    history[24]["val_accuracy"] = 0.97
    assert only(diagnose(history)).startswith("The best validation accuracy, 0.970, was in epoch 25; the last epoch has 0.945.")


def test_validation_above_training_is_called_normal():
    history = healthy()
    for row in history:
        row["accuracy"] -= 0.05
    first, note = diagnose(history)
    assert first == "Nothing wrong seen in the curves." and "4.5 points above training: normal" in note


def test_mixed_training_accuracy_is_not_compared():
    history = healthy()
    for row in history:
        row["accuracy"] = 0.99 if row["epoch"] > 15 else 0.1
        row["val_accuracy"] -= 0.2
    assert "overfits" in diagnose(history)[0]
    sentences = diagnose(history, mixed=True)
    assert not any("overfits" in s for s in sentences) and "not compared" in sentences[-1]


def test_short_histories_and_missing_columns():
    assert "nothing to judge" in only(diagnose([]))
    assert only(diagnose(rows([1.0]))) == "One epoch is too few to judge the course of the curves: it takes 5."
    assert "3 epochs are too few" in only(diagnose(rows([2.0, 1.0, 0.5], [0.2, 0.5, 0.6])))
    assert only(diagnose(rows(falling(2, 0.1, 12, 30)))) == "Nothing wrong seen in the curves."  # a loss alone
    texts = [{name: str(value) for name, value in row.items()} for row in healthy()]
    assert diagnose(texts) == diagnose(healthy()), "as csv.DictReader gives them"


# cifar10-resnet20, 50 epochs of CIFAR-10 (JPEG), rounded: epoch, accuracy, loss, val_accuracy, val_loss, learning_rate
RESNET20 = """
1 .397 1.632 .487 1.530 .0234   4 .693 .879 .720 .858 .0694   8 .751 .712 .693 .939 .1309  12 .761 .688 .675 1.007 .1923
16 .774 .654 .744 .748 .1957   20 .787 .617 .754 .730 .1809   24 .802 .574 .761 .704 .1571  28 .814 .536 .763 .665 .1269
32 .833 .483 .797 .654 .0937   36 .855 .419 .834 .505 .0612   40 .882 .340 .866 .409 .0331  44 .917 .243 .879 .414 .0124
48 .942 .169 .885 .382 .0014   50 .949 .155 .885 .381 .0000"""
# mnist-lenet5
LENET5 = """
1 .8055 .6331 .9624 .1326 .0005   2 .9510 .1579 .9752 .0774 .0009   10 .9828 .0537 .9854 .0554 .0029   20 .9924 .0233 .9910 .0336 .0012
24 .9961 .0125 .9928 .0322 .0005  29 .9979 .0070 .9930 .0323 .00001 30 .9977 .0068 .9930 .0322 .0"""


def real(text):
    columns = np.array(text.split(), float).reshape(-1, 6).T
    return [{**row, "epoch": epoch} for epoch, row in zip(columns[0], rows(*columns[[2, 1, 4, 3, 5]]), strict=True)]


def test_the_resnet_that_left_six_points_between_training_and_validation():
    sentence = only(diagnose(real(RESNET20)))
    assert sentence.startswith("It overfits: accuracy is 0.949 in training and 0.885 in validation, a gap of 6.4 points")


def test_the_lenet_at_its_plateau_is_left_in_peace():
    assert only(diagnose(real(LENET5))) == "Nothing wrong seen in the curves."


def test_the_resnet_stopped_on_its_way_wants_more_epochs():
    assert "Train longer" in only(diagnose(real(RESNET20)[:11]))
