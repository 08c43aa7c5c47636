# The shape of `axes`, `axisOrder`, `systems` and `cell`. Evaluates to true, or throws.
{
  fail,
  axes,
  axisOrder,
  systems,
  cell,
}:
let
  reserved = [
    "coordinates"
    "name"
    "reason"
    "system"
  ];
  list = builtins.concatStringsSep ", ";
  axisNames = builtins.attrNames axes;

  axisOk =
    axis:
    if builtins.match "[A-Za-z_][A-Za-z0-9_-]*" axis == null then
      fail "the axis name '${axis}' is not one that Nix can use without quotes" "use letters, digits, '-' and '_', and start with a letter"
    else if builtins.elem axis reserved then
      fail "the axis name '${axis}' is taken: the cell function gets something else by that name" "choose another name (taken are ${list reserved})"
    else if !builtins.isAttrs axes.${axis} then
      fail "the axis '${axis}' is a ${builtins.typeOf axes.${axis}}" "write it as a set, axes.${axis}.\"<value>\" = <what the cell function gets>"
    else if axes.${axis} == { } then
      fail "the axis '${axis}' has no values" "add one, axes.${axis}.\"<value>\" = …, or remove the axis"
    else if builtins.elem "" (builtins.attrNames axes.${axis}) then
      fail "the axis '${axis}' has a value whose name is empty" "give it a name"
    else
      true;
in
if !builtins.isAttrs axes || axes == { } then
  fail "there are no axes" "give at least one, for example axes.python.\"3.13\" = pkgs.python313"
else if !builtins.isFunction cell && !(builtins.isAttrs cell && cell ? __functor) then
  fail "`cell` is a ${builtins.typeOf cell}" "make it a function from the chosen values to a derivation"
else if !builtins.all axisOk axisNames then
  false
else if builtins.sort builtins.lessThan axisOrder != axisNames then
  fail "axisOrder is [ ${list axisOrder} ]" "let it name every axis once: ${list axisNames}"
else if systems == [ ] then
  fail "`systems` is empty" "name at least one, for example systems = [ \"x86_64-linux\" ]"
else
  true
