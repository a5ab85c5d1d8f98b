from . import depot
