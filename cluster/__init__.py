"""Ray execution: the shared cache actor, Ray Train workers, resources. The science in `privimage` knows none of it."""
