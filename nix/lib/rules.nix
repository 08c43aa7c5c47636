# `exclude` and `include`: who is out and why, and which coordinates come on top of the product.
{
  fail,
  axes,
  axisOrder,
  systems,
  include,
  exclude,
}:
let
  list = builtins.concatStringsSep ", ";
  toList = v: if builtins.isList v then v else [ v ];
  numbered = builtins.genList (i: i + 1);

  # One entry, with its position for messages.
  entries =
    what: given:
    let
      entry =
        i:
        let
          e = builtins.elemAt given (i - 1);
        in
        if builtins.isAttrs e then
          e // { __where = "${what} ${toString i}"; }
        else
          fail "${what} ${toString i} is a ${builtins.typeOf e}" "write it as { <axis> = \"<value>\"; reason = \"…\"; }";
    in
    if builtins.isList given then
      map entry (numbered (builtins.length given))
    else
      fail "${what} is a ${builtins.typeOf given}" "write it as a list of sets";

  axesOf = e: removeAttrs e [ "__where" "reason" "system" ];

  checkedAxis =
    e: axis:
    axes ? ${axis}
    || fail "${e.__where} names the axis '${axis}', which does not exist" "use one of: ${list axisOrder}";

  checkedSystems =
    e:
    builtins.all (
      s:
      builtins.elem s systems
      || fail "${e.__where} names the system '${toString s}', which is not in systems" "use one of: ${list systems}"
    ) (toList (e.system or [ ]));

  knownValue =
    e: axis: value:
    if !builtins.isString value then
      fail "${e.__where}: '${axis}' is given a ${builtins.typeOf value}" "write the value as a string, as in ${axis} = \"${builtins.head (builtins.attrNames axes.${axis})}\""
    else if axes.${axis} ? ${value} || newValues.${axis} or { } ? ${value} then
      value
    else
      fail "${e.__where}: the axis '${axis}' has no value '${value}'" "use one of: ${
        list (builtins.attrNames (axes.${axis} // newValues.${axis} or { }))
      }";

  # exclude ---------------------------------------------------------------------------------------------------------
  checkedExclude =
    e:
    let
      named = builtins.attrNames (axesOf e);
      known = builtins.all (a: checkedAxis e a && builtins.all (v: knownValue e a v == v) (toList e.${a})) named;
    in
    if !known || !checkedSystems e then
      e
    else if named == [ ] && !(e ? system) then
      fail "${e.__where} names no axis, so it would exclude everything" "name at least one of: ${list axisOrder}"
    else if !builtins.isString (e.reason or null) || e.reason == "" then
      fail "${e.__where} (${list (map (a: "${a} = ${list (toList e.${a})}") named)}) has no reason" "add reason = \"…\"; it is shown wherever these cells are missing"
    else
      e;
  excludes = map checkedExclude (entries "exclude" exclude);

  matches =
    system: c: e:
    builtins.all (a: builtins.elem c.${a} (toList e.${a})) (builtins.attrNames (axesOf e))
    && (!(e ? system) || builtins.elem system (toList e.system));

  # include ---------------------------------------------------------------------------------------------------------
  includes = entries "include" include;

  # A set as value, { "oracle-23" = data; }, brings a value that the axis does not have.
  newValues = builtins.foldl' (
    into: e: builtins.foldl' (bring e) into (builtins.filter (a: builtins.isAttrs e.${a}) (builtins.attrNames (axesOf e)))
  ) { } includes;

  bring =
    e: into: axis:
    let
      fresh = e.${axis};
      value = builtins.head (builtins.attrNames fresh);
    in
    if !checkedAxis e axis then
      into
    else if builtins.length (builtins.attrNames fresh) != 1 then
      fail "${e.__where}: '${axis}' is a set of ${toString (builtins.length (builtins.attrNames fresh))} values" "bring exactly one, ${axis}.\"<value>\" = <data>; name several with a list of strings"
    else if axes.${axis} ? ${value} || into.${axis} or { } ? ${value} then
      fail "${e.__where} brings the value '${value}' of '${axis}', which exists already" "write ${axis} = \"${value}\""
    else
      into // { ${axis} = (into.${axis} or { }) // fresh; };

  valuesOf =
    e: axis:
    let
      v = e.${axis};
    in
    map (knownValue e axis) (if builtins.isAttrs v then builtins.attrNames v else toList v);

  coordinatesOf =
    e:
    let
      missing = builtins.filter (a: !(e ? ${a})) axisOrder;
      known = builtins.all (checkedAxis e) (builtins.attrNames (axesOf e));
    in
    if known && missing != [ ] then
      fail "${e.__where} does not say which '${builtins.head missing}'" "name a value for every axis: ${list axisOrder}"
    else
      builtins.foldl' (
        cells: axis: builtins.concatMap (c: map (v: c // { ${axis} = v; }) (valuesOf e axis)) cells
      ) [ { } ] axisOrder;
in
{
  inherit newValues;

  # The first reason that excludes these coordinates, or null.
  reasonFor =
    system: c:
    let
      hits = builtins.filter (matches system c) excludes;
    in
    if hits == [ ] then null else (builtins.head hits).reason;

  included =
    system:
    builtins.concatMap coordinatesOf (
      builtins.filter (
        e: checkedSystems e && (!(e ? system) || builtins.elem system (toList e.system))
      ) includes
    );
}
