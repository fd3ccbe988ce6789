"""One run on several processes: who they are, and how they share the work of a network.

Every process holds the whole run: the same batches, random states, buffers and optimiser. What
costs time is shared: a network's pass over a batch, the decoding of its images, the feature bank.
Each process computes its share of the rows, and all receive all results. Strategies therefore
compute their losses, statistics and buffers from the global batch, as in one process.
"""
