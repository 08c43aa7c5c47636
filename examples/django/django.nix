# Django for one interpreter: its source tree, and an environment that has it installed with all that its tests need.
{
  pkgs,
  croft,
  django, # a series: "5.2"
  interpreter,
  patches,
}:
let
  pins = (builtins.fromJSON (builtins.readFile ./pins.json)).pins;
  prefix = "django-${django}.";
  ofSeries = builtins.filter (name: builtins.substring 0 (builtins.stringLength prefix) name == prefix);
  pin = pins.${builtins.head (ofSeries (builtins.attrNames pins))};
  # nixpkgs asks PyPI by name; the pinned set has the file.
  archive =
    if pkgs ? fetchPin then
      pkgs.fetchPin pin
    else
      pkgs.fetchPypi {
        pname = builtins.head (builtins.match "(.*)-[^-]*\\.tar\\.gz" (baseNameOf pin.path));
        inherit (pin) version sha256;
      };

  source = pkgs.runCommand "django-${pin.version}-source" { } (
    ''
      mkdir -p "$out"
      tar -xzf ${archive} -C "$out" --strip-components=1
      cd "$out"
    ''
    + builtins.concatStringsSep "" (
      map (patch: "patch -p1 < ${builtins.path { path = patch; name = baseNameOf patch; }}\n") patches
    )
  );

  module =
    ps: name: script:
    ps.toPythonModule (
      pkgs.runCommand name { } ''
        site=$out/${interpreter.sitePackages}
        mkdir -p "$site"
        ${script}
        chmod -R u+w "$site"
        find "$site" -name '*.py' -exec touch -h -d @1 {} +
        ${interpreter.interpreter} -m compileall -q "$site" > compile.log || tail -n 3 compile.log
      ''
    );
  # Installed, not put on PYTHONPATH: many tests start children with a PYTHONPATH of their own.
  package = ps: module ps "django-${pin.version}" ''cp -R ${source}/django "$site"'';
  runner =
    ps:
    module ps "croft-django-runner" ''
      cp ${builtins.path { path = ./runner; name = "croft-django-runner"; }}/*.py ${croft.lib.pythonReporter}/croft_report.py "$site"
    '';

  drivers = if builtins.elem django [ "1.11" "3.2" ] then [ "psycopg2" ] else [ "psycopg" "psycopg-pool" ];
  wanted = drivers ++ [
    "asgiref"
    "docutils"
    "jinja2"
    "mock"
    "pymysql"
    "pytz"
    "pyyaml"
    "six"
    "sqlparse"
    "tblib"
    "typing-extensions"
  ];
in
{
  inherit source;
  # Whatever of these the set has for this interpreter; tests whose needs are missing skip themselves.
  environment = interpreter.withPackages (
    ps: builtins.concatMap (name: if ps ? ${name} then [ ps.${name} ] else [ ]) wanted ++ [ (package ps) (runner ps) ]
  );
}
