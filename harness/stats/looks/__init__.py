"""Test at several looks, with one error level over all of them."""
