"""`python -m agent_tts` is `agent-tts`."""

import sys

from agent_tts.cli import main

sys.exit(main())
