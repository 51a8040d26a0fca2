"""A study: several methods judged on the same images, with intervals, tests and a report."""
