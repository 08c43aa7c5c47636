# matrix { axes; cell; ... } -> { <system>.<cell> = derivation; }, the value of a flake's `checks`.
# The product of the axes, less `exclude`, plus `include`; every check carries its coordinates in `passthru.croft`.
{ order, annotate }:
{
  axes, # { python."3.13" = anything; database."postgresql-17" = anything; }
  cell, # { python, database, system, name, coordinates, ... }: derivation
  name ? "checks",
  axisOrder ? builtins.attrNames axes,
  include ? [ ], # [ { python = "3.13"; database."oracle-23" = anything; } ]
  exclude ? [ ], # [ { python = [ "2.7" "3.9" ]; reason = "…"; } ]
  systems ? [
    "x86_64-linux"
    "aarch64-linux"
  ],
  cellName ? null, # coordinates: string
}:
let
  fail = problem: next: throw "croft: matrix '${name}': ${problem}. Next: ${next}.";
  names = import ./names.nix { inherit fail axisOrder cellName; };
  rules = import ./rules.nix {
    inherit
      fail
      axes
      axisOrder
      systems
      include
      exclude
      ;
  };

  valid = import ./validate.nix {
    inherit
      fail
      axes
      axisOrder
      systems
      cell
      ;
  };

  values = builtins.mapAttrs (axis: known: known // (rules.newValues.${axis} or { })) axes;
  ordered = builtins.mapAttrs (_: v: order (builtins.attrNames v)) values;

  product = builtins.foldl' (
    cells: axis:
    builtins.concatMap (
      c: map (value: c // { ${axis} = value; }) (order (builtins.attrNames axes.${axis}))
    ) cells
  ) [ { } ] axisOrder;

  forSystem =
    system:
    let
      added = rules.included system;
      kept = builtins.filter (c: rules.reasonFor system c == null) product;
      cells = kept ++ added;
      excluded = map (c: {
        axes = c;
        reason = rules.reasonFor system c;
      }) (builtins.filter (c: rules.reasonFor system c != null && !builtins.elem c added) product);
    in
    if cells == [ ] then
      fail "no cell is left for ${system}, every combination is excluded" "drop an exclude, or drop ${system} from systems"
    else
      builtins.mapAttrs (check system excluded) (names.table system cells);

  check =
    system: excluded: checkName: coordinates:
    let
      made = cell (
        builtins.mapAttrs (axis: value: values.${axis}.${value}) coordinates
        // {
          inherit system coordinates;
          name = checkName;
        }
      );
      croft = annotate.hintsOf drv // {
        v = 1;
        axes = coordinates;
        matrix = {
          inherit name axisOrder excluded;
          axes = ordered;
        };
      };
      drv =
        if annotate.isDerivation made then
          made
        else
          fail "the cell '${checkName}' is ${
            if builtins.isAttrs made then "a set" else "a ${builtins.typeOf made}"
          }, not a derivation" "let the `cell` function return a derivation, for example from croft.lib.cell";
      # A cell that throws keeps its name and coordinates; the error comes when it is instantiated.
      broken = {
        type = "derivation";
        name = checkName;
        inherit system;
        inherit (drv) drvPath outPath;
        outputName = "out";
      };
      usable = (builtins.tryEval drv).success;
    in
    annotate.attach (if usable then drv else broken) (
      if usable then croft else croft // annotate.hintsOf { }
    );
in
builtins.seq valid (
  builtins.listToAttrs (
    map (system: {
      name = system;
      value = forSystem system;
    }) systems
  )
)
