"""The tools that wherry is measured against, each behind `bench.rivals.port.Builder`."""
