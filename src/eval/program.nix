# What croft has Nix evaluate: `nix eval FLAKE#checks --apply "(<this file>) { … }"`.
# Describes checks one line at a time through `builtins.trace`, so that a cell is known as soon as it is evaluated
# and a cell that ends the evaluator is known to be the first one without a line. `tag` is a secret that a flake
# cannot print. Cells are numbered over all wanted systems, in the order of their names.
{
  tag,
  wanted, # systems, or null for all
  limit, # say only the count above so many cells
  only, # numbers of the cells to describe, or null for a first look
  first, # a first look describes so many
  loud, # whether a cell that throws ends the evaluator, for the sake of its message
}:
checks:
let
  say = kind: text: builtins.trace "${tag} ${kind} ${text}";

  known = builtins.attrNames checks;
  systems = builtins.filter (s: wanted == null || builtins.elem s wanted) known;
  all = builtins.concatMap (
    system: map (name: { inherit system name; }) (builtins.attrNames checks.${system})
  ) systems;
  total = builtins.length all;

  least = a: b: if a < b then a else b;
  chosen =
    if only != null then
      only
    else if total > limit then
      [ ]
    else
      builtins.genList (i: i) (least total first);
  found = {
    inherit known total;
    cells = if total > limit then [ ] else all;
  };

  attempt =
    value:
    if loud then
      {
        success = true;
        value = builtins.toJSON value;
      }
    else
      builtins.tryEval (builtins.toJSON value);

  isDerivation = d: builtins.isAttrs d && d.type or null == "derivation";
  croftOf = check: if isDerivation check then check.passthru.croft or check.croft or null else null;
  contractOf =
    croft:
    if croft == null then
      null
    else
      builtins.intersectAttrs {
        v = 0;
        axes = 0;
        expect = 0;
        timeout = 0;
        resources = 0;
        external = 0;
        requiredSystemFeatures = 0;
      } croft
      // {
        matrixName = croft.matrix.name or null;
      };
  productOf =
    check:
    if isDerivation check then
      {
        drv = builtins.unsafeDiscardStringContext check.drvPath;
        inherit (check) system;
      }
    else
      { wrong = builtins.typeOf check; };

  # The matrix of a check, said the first time it is seen.
  matrixOf =
    system: check:
    builtins.tryEval (
      let
        inherit (croftOf check) matrix;
        json = builtins.toJSON {
          inherit system;
          matrix = {
            inherit (matrix) name axes;
            axisOrder = matrix.axisOrder or [ ];
            excluded = matrix.excluded or [ ];
          };
        };
      in
      if (croftOf check) ? matrix.name then
        builtins.seq json {
          inherit json;
          key = builtins.toJSON [
            system
            matrix.name
          ];
        }
      else
        null
    );

  step =
    seen: number:
    let
      inherit (builtins.elemAt all number) system name;
      check = checks.${system}.${name};
      contract = attempt (contractOf (croftOf check));
      product = attempt (productOf check);
      found = if contract.success then (matrixOf system check).value else null;
      matrix = if builtins.isAttrs found && !(seen ? ${found.key}) then found else null;
      tell = kind: result: if result.success then say kind "${toString number} ${result.value}" else say "broken" (toString number);
      cell = tell "point" contract (if contract.success then tell "cell" product else (x: x));
    in
    if matrix == null then
      cell seen
    else
      say "matrix" "${toString number} ${matrix.json}" (cell (seen // { ${matrix.key} = true; }));

  described = builtins.foldl' step { } chosen;
in
say "found" (if only == null then builtins.toJSON found else "null") (
  builtins.seq described { done = builtins.length chosen; }
)
