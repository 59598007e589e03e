"""Measurements with their commands; results/ keeps them as JSON."""
