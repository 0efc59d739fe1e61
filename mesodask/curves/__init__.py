"""Runs of neuron-dropping curves: sessions or populations -> plan -> blocks of scores -> run store; and their cost."""
