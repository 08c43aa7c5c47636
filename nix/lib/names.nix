# Cell names: the values in axis order, joined by '-'. A value that starts with a digit gets its axis in front, so that
# { python = "3.13"; database = "postgresql-17"; } is `python-3_13-postgresql-17`. A dot would need quotes on the command
# line (`nix build '.#checks.x86_64-linux."a.b"'`), so it becomes '_', as does other punctuation.
{
  fail,
  axisOrder,
  cellName,
}:
let
  # A store name has 211 characters at most, and ".drv", a prefix or a suffix has to fit as well.
  longest = 160;

  punctuation = [ "." "+" ":" "/" "=" "@" "~" " " "," ];
  plain = builtins.replaceStrings punctuation (map (_: "_") punctuation);
  part = axis: value: if builtins.match "[0-9].*" value == null then plain value else "${axis}-${plain value}";
  standard = c: builtins.concatStringsSep "-" (map (axis: part axis c.${axis}) axisOrder);

  show = c: "{ ${builtins.concatStringsSep " " (map (a: "${a} = \"${c.${a}}\";") axisOrder)} }";

  nameOf =
    c:
    let
      n = if cellName == null then standard c else cellName c;
    in
    if !builtins.isString n then
      fail "cellName gave a ${builtins.typeOf n} for ${show c}" "let it return a string"
    else if builtins.match "[A-Za-z_][A-Za-z0-9_-]*" n == null then
      fail "Nix cannot use '${n}', the name of the cell ${show c}" "use letters, digits, '-' and '_' in the value's name, or set cellName = coordinates: \"…\""
    else if builtins.stringLength n > longest then
      fail "the name of the cell ${show c} has ${toString (builtins.stringLength n)} characters, ${toString longest} is the limit" "set a shorter cellName = coordinates: \"…\""
    else
      n;

  single =
    system: n: cells:
    let
      one = builtins.head cells;
      other = builtins.elemAt cells 1;
    in
    if builtins.length cells == 1 then
      one
    else if one == other then
      fail "the cell ${show one} exists twice for ${system}" "remove it from include: the axes already make it, or include names it twice"
    else
      fail "the cells ${show one} and ${show other} are both called '${n}'" "tell them apart with cellName = coordinates: \"…\"";
in
{
  # [ coordinates ] -> { <name> = coordinates; }
  table = system: cells: builtins.mapAttrs (single system) (builtins.groupBy nameOf cells);
}
