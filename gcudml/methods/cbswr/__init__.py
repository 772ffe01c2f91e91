"""CBSwR: clustering, decoder and centre-based softmax."""
