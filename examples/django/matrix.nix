# Django's suite as a matrix: { <system>.<cell> = derivation; }. Any package set in the shape of nixpkgs will do.
{
  croft,
  pkgsFor, # system: package set
  systems ? [ "x86_64-linux" ],
  selection ? "smoke", # "full": everything that Django's runtests.py finds
  # Patches of Django's source tree: { python, ... }: if python == "3.13" then [ ./fix.patch ] else [ ]
  patches ? (coordinates: [ ]),
}:
let
  inherit (import ./axes.nix) python database refuses;

  selections = {
    smoke = {
      labels = [ "basic" "dates" "many_to_one" "or_lookups" ];
      parallel = 1;
      timeout = 600;
    };
    full = {
      labels = [ ];
      parallel = 2;
      timeout = 7200;
    };
  };
  chosen = selections.${selection};

  # A package set may lack some of these: said aloud, not left out.
  absent =
    axis: values:
    map (name: {
      ${axis} = name;
      reason = "this package set has no ${values.${name}.package}";
    }) (
      builtins.filter (
        name: values.${name} ? package && !(pkgsFor (builtins.head systems) ? ${values.${name}.package})
      ) (builtins.attrNames values)
    );

  service =
    pkgs: db:
    croft.lib.services.${db.service} (
      (if db ? package then { package = pkgs.${db.package}; } else { })
      # What Django's documentation asks of MariaDB; newer servers have another default.
      // (if db.service == "mariadb" then { arguments = [ "--collation-server=utf8mb4_general_ci" ]; } else { })
    );
in
croft.lib.matrix {
  name = "django-${selection}";
  inherit systems;
  axisOrder = [
    "python"
    "database"
  ];
  axes = { inherit python database; };

  exclude = [
    {
      python = "pypy3.7";
      database = [
        "postgresql-13"
        "postgresql-15"
        "postgresql-17"
        "postgresql-18"
      ];
      reason = "Django 3.2 needs psycopg2, which has no build for PyPy";
    }
  ]
  ++ absent "python" python
  ++ absent "database" database;

  cell =
    {
      name,
      system,
      coordinates,
      python,
      database,
      ...
    }:
    let
      pkgs = pkgsFor system;
      django = import ./django.nix {
        inherit pkgs croft;
        inherit (python) django;
        interpreter = pkgs.${python.package};
        patches = patches coordinates;
      };
    in
    croft.lib.cell {
      name = "django-${name}";
      inherit system;
      shell = pkgs.runtimeShell;
      path = [ pkgs.coreutils ] ++ (if pkgs ? gnugrep then [ pkgs.gawk pkgs.gnugrep pkgs.gnused pkgs.gzip ] else [ ]);
      services = [ (service pkgs database) ];
      expect = if builtins.elem coordinates.database (refuses.${python.django} or [ ]) then "refused" else "pass";
      junit = "report.xml";
      inherit (chosen) timeout;
      resources = {
        cores = chosen.parallel;
        memory = 1024 * (1 + chosen.parallel);
      };
      env = {
        PYTHONHASHSEED = "0";
        PYTHONDONTWRITEBYTECODE = "1";
        DJANGO_SOURCE = django.source;
        DJANGO_PYTHON = "${django.environment}/bin/python";
        DJANGO_OPTIONS = "--parallel=${toString chosen.parallel}";
        DJANGO_LABELS = toString chosen.labels;
      };
      script = builtins.readFile ./run.sh;
    };
}
