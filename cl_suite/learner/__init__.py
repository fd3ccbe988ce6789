"""A finished classifier that goes on learning: predict, learn, forget, merge, undo, export."""
