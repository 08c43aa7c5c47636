# Tests of the library, by evaluation alone: `nix-instantiate --eval --strict nix/lib/tests/eval.nix -A failed` prints [ ].
# `messages` are values that throw, with the words that have to be in the message; nix/lib/tests/eval.sh compares those.
let
  croft = import ../.;
  inherit (builtins) attrNames deepSeq filter mapAttrs tryEval;

  system = "x86_64-linux";
  plain = { name, ... }: derivation {
    inherit name system;
    builder = "/bin/sh";
  };
  twoAxes = {
    axes.python = {
      "3.10" = 310;
      "3.9" = 39;
    };
    axes.database = {
      sqlite = "s";
      "postgresql-17" = "p17";
      "postgresql-9" = "p9";
    };
    axisOrder = [
      "python"
      "database"
    ];
    systems = [ system ];
    cell = plain;
    name = "demo";
  };
  matrix = extra: (croft.matrix (twoAxes // extra)).${system};
  names = extra: attrNames (matrix extra);
  no27 = {
    python = "3.9";
    database = [
      "postgresql-9"
      "postgresql-17"
    ];
    reason = "3.9 has no driver";
  };
  cellOf =
    extra:
    croft.cell (
      {
        name = "c";
        inherit system;
        shell = "/bin/sh";
        script = "true";
      }
      // extra
    );
  first = extra: (matrix extra).python-3_10-sqlite;
  annotated = hints: { cell = args: croft.annotate hints (plain args); };

  # Everything that croft reads of a cell, forced.
  read = cells: deepSeq (mapAttrs (_: d: [ d.croft d.drvPath ]) cells) true;

  shapes = {
    order = croft.order [ "3.10" "3.9" "3.10.1" ] == [ "3.9" "3.10" "3.10.1" ];
    orderOfNames = croft.order [ "postgresql-17" "sqlite" "postgresql-9" ] == [ "postgresql-9" "postgresql-17" "sqlite" ];
    product = names { } == [
      "python-3_10-postgresql-17"
      "python-3_10-postgresql-9"
      "python-3_10-sqlite"
      "python-3_9-postgresql-17"
      "python-3_9-postgresql-9"
      "python-3_9-sqlite"
    ];
    defaultOrderIsByName = builtins.elem "postgresql-17-python-3_10" (attrNames (croft.matrix (removeAttrs twoAxes [ "axisOrder" ])).${system});
    systems = attrNames (croft.matrix (twoAxes // { systems = [ "aarch64-linux" system ]; })) == [ "aarch64-linux" system ];
    bothPlaces = (first { }).croft == (first { }).passthru.croft;
    coordinates = (first { }).croft.axes == { python = "3.10"; database = "sqlite"; };
    valuesInOrder = (first { }).croft.matrix.axes == { python = [ "3.9" "3.10" ]; database = [ "postgresql-9" "postgresql-17" "sqlite" ]; };
    drvPathIsUntouched = (first { }).drvPath == (plain { name = "python-3_10-sqlite"; }).drvPath;
    hintsChangeNoKey = (cellOf { timeout = 5; resources.memory = 10; external = true; }).drvPath == (cellOf { }).drvPath;
    defaults = removeAttrs (first { }).croft [ "axes" "matrix" ] == {
      v = 1;
      expect = "pass";
      timeout = null;
      resources = { cores = null; memory = null; disk = null; };
      external = false;
      requiredSystemFeatures = [ ];
    };
    hints = (first (annotated { timeout = 60; expect = "refused"; resources.memory = 2048; })).croft.resources.memory == 2048;
    hintsOfNixpkgs = (first { cell = a: plain a // { meta.timeout = 7; }; }).croft.timeout == 7;
    cellHints = (first { cell = { name, ... }: cellOf { inherit name; timeout = 9; requiredSystemFeatures = [ "kvm" ]; }; }).croft.requiredSystemFeatures == [ "kvm" ];
    otherAttributesStay = (first { cell = a: plain a // { passthru.extra = 1; driver = 2; }; }).passthru.extra == 1;
    given = (first { cell = { name, system, python, database, coordinates }: plain { name = "${toString python}-${database}-${coordinates.python}"; }; }).name == "310-s-3.10";
    excluded = names { exclude = [ no27 ]; } == [ "python-3_10-postgresql-17" "python-3_10-postgresql-9" "python-3_10-sqlite" "python-3_9-sqlite" ];
    excludedIsTold = (first { exclude = [ no27 ]; }).croft.matrix.excluded == [
      { axes = { python = "3.9"; database = "postgresql-9"; }; reason = no27.reason; }
      { axes = { python = "3.9"; database = "postgresql-17"; }; reason = no27.reason; }
    ];
    excludedOnOneSystem = builtins.length (names { exclude = [ { system = "x86_64-linux"; database = "sqlite"; reason = "r"; } ]; }) == 4;
    includeTakesBack = builtins.elem "python-3_9-postgresql-9" (names { exclude = [ no27 ]; include = [ { python = "3.9"; database = "postgresql-9"; } ]; });
    includeBringsAValue = (matrix { include = [ { python."3.15" = 315; database = [ "sqlite" "postgresql-9" ]; } ]; cell = { python, ... }: plain { name = toString python; }; }).python-3_15-sqlite.name == "315";
    cellName = names { cellName = c: "${c.database}_${builtins.replaceStrings [ "." ] [ "" ] c.python}"; } == [ "postgresql-17_310" "postgresql-17_39" "postgresql-9_310" "postgresql-9_39" "sqlite_310" "sqlite_39" ];
    brokenCellKeepsItsPlace = (first { cell = _: throw "no such version"; }).croft.axes.python == "3.10";
    brokenCellIsAlone = (matrix { cell = a: if a.python == 39 then throw "x" else plain a; }).python-3_10-sqlite.drvPath != "";
    merge = attrNames (croft.merge [ (croft.matrix twoAxes) { ${system}.lint = plain { name = "lint"; }; } ]).${system} == [ "lint" ] ++ names { };
    services = mapAttrs (_: s: attrNames (s { package = "/p"; })) croft.services == mapAttrs (_: _: [ "env" "name" "start" "stop" ]) croft.services;
    serviceText = (cellOf { services = [ (croft.services.postgresql { package = "/p"; }) (croft.services.sqlite { }) ]; }).drvPath != "";
  };

  throws = wanted: value: { inherit wanted value; };
  broken = wanted: extra: throws ([ "demo" ] ++ wanted) (read (matrix extra));
  messages = {
    noAxes = broken [ "there are no axes" ] { axes = { }; axisOrder = [ ]; };
    emptyAxis = broken [ "'python'" "no values" ] { axes = twoAxes.axes // { python = { }; }; };
    axisIsAList = broken [ "'python' is a list" ] { axes = twoAxes.axes // { python = [ "3.9" ]; }; };
    axisName = broken [ "'py thon'" ] { axes."py thon".a = 1; axisOrder = [ "py thon" ]; };
    axisNameTaken = broken [ "'system'" "taken" ] { axes.system.a = 1; axisOrder = [ "system" ]; };
    axisOrder = broken [ "axisOrder" "database, python" ] { axisOrder = [ "python" ]; };
    noSystems = broken [ "systems" ] { systems = [ ]; };
    cellIsNoFunction = broken [ "`cell` is a int" ] { cell = 3; };
    excludeAxis = broken [ "exclude 1" "'pyton'" "database" ] { exclude = [ { pyton = "3.9"; reason = "r"; } ]; };
    excludeValue = broken [ "exclude 2" "'2.7'" "3.10, 3.9" ] { exclude = [ no27 { python = "2.7"; reason = "r"; } ]; };
    excludeNumber = broken [ "exclude 1" "float" ] { exclude = [ { python = 3.9; reason = "r"; } ]; };
    excludeSystem = broken [ "exclude 1" "i686-linux" ] { exclude = [ { system = "i686-linux"; reason = "r"; } ]; };
    excludeReason = broken [ "exclude 1 (python = 3.9)" "no reason" ] { exclude = [ { python = "3.9"; } ]; };
    excludeAll = broken [ "no cell is left" ] { exclude = [ { python = [ "3.9" "3.10" ]; reason = "r"; } ]; };
    excludeNothing = broken [ "names no axis" ] { exclude = [ { reason = "r"; } ]; };
    excludeShape = broken [ "exclude 1 is a string" ] { exclude = [ "3.9" ]; };
    includeAxis = broken [ "include 1" "'pyton'" ] { include = [ { pyton = "3.9"; database = "sqlite"; } ]; };
    includeValue = broken [ "include 1" "'3.11'" ] { include = [ { python = "3.11"; database = "sqlite"; } ]; };
    includeMissing = broken [ "include 1" "'database'" ] { include = [ { python = "3.9"; } ]; };
    includeKnown = broken [ "'3.9' of 'python'" "exists already" ] { include = [ { python."3.9" = 1; database = "sqlite"; } ]; };
    includeMany = broken [ "set of 2 values" ] { include = [ { python = { a = 1; b = 2; }; database = "sqlite"; } ]; };
    duplicateCell = broken [ "exists twice" "python = \"3.9\"" ] { include = [ { python = "3.9"; database = "sqlite"; } ]; };
    duplicateName = broken [ "both called 'one'" "cellName" ] { cellName = _: "one"; };
    unusableName = broken [ "'ü'" "cellName" ] { cellName = _: "ü"; };
    unusableValue = broken [ "cannot use" ] { axes.os."a$b" = 1; axisOrder = [ "os" ]; };
    longName = broken [ "160 is the limit" ] { cellName = c: builtins.concatStringsSep "" (builtins.genList (_: "x") 200); };
    nameIsNoString = broken [ "cellName gave a int" ] { cellName = _: 1; };
    noDerivation = broken [ "is a string" "derivation" ] { cell = _: "text"; };
    badHint = throws [ "unknown hint 'timeuot'" "timeout" ] (read (matrix (annotated { timeuot = 1; })));
    badTimeout = throws [ "timeout must be" "seconds" ] (read (matrix (annotated { timeout = "5m"; })));
    badExpect = throws [ "expect must be one of pass, fail, refused" ] (read (matrix (annotated { expect = "error"; })));
    badResource = throws [ "no part 'ram'" ] (read (matrix (annotated { resources.ram = 1; })));
    badMemory = throws [ "'memory'" "MiB" ] (read (matrix (annotated { resources.memory = "4G"; })));
    takenEnv = throws [ "cell 'c'" "'builder'" ] (cellOf { env.builder = "x"; }).drvPath;
    absoluteJunit = throws [ "cell 'c'" "/tmp/a.xml" ] (cellOf { junit = "/tmp/a.xml"; }).drvPath;
    mergeTwice = throws [ "python-3_10-postgresql-17" "twice" ] (deepSeq (attrNames (croft.merge [ (croft.matrix twoAxes) (croft.matrix twoAxes) ]).${system}) true);
  };

  falseShapes = filter (n: !shapes.${n}) (attrNames shapes);
  silent = filter (n: (tryEval (deepSeq messages.${n}.value true)).success) (attrNames messages);
in
{
  inherit messages shapes;
  failed = falseShapes ++ silent;
  # For eval.sh: "name<TAB>words<TAB>words" for each message.
  wanted = builtins.concatStringsSep "" (map (n: "${n}\t${builtins.concatStringsSep "\t" messages.${n}.wanted}\n") (attrNames messages));
}
