"""One bundle in several runtimes: are the answers those of Keras, how good are they, and how long does one take.

`runtimes` opens the graphs, `samples` brings real examples, `agreement` compares, `measure` makes the rows, `report` and `chart` show them.
"""
