"""The small worlds of the package's laws, among the tests' own."""

from stretto.laws.worlds import *  # noqa: F403
