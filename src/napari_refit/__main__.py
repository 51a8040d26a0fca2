"""``python -m napari_refit``."""

import sys

from napari_refit.cli import main

sys.exit(main())
