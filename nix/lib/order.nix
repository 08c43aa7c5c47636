# Natural order of versions: "3.9" before "3.10", "postgresql-9" before "postgresql-17".
builtins.sort (a: b: builtins.compareVersions a b < 0)
