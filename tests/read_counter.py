"""Counts what is read of a dataset."""

import numpy as np
import tensorflow as tf


class ReadCounter:
    """Counts the items that leave a dataset, those waiting in buffers included."""

    def __init__(self):
        self.examples = 0

    def count(self, dataset):
        """The same items."""

        def note():
            self.examples += 1
            return np.bool_(True)

        return dataset.filter(lambda *_: tf.ensure_shape(tf.numpy_function(note, [], tf.bool), []))
