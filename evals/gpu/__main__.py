"""python -m evals.gpu"""

import sys

from evals.gpu.run import main

sys.exit(main())
