# Joins several matrices, or a matrix and hand-written checks, into one value for `checks`.
sets:
let
  join =
    into: next:
    into
    // builtins.mapAttrs (
      system: cells:
      let
        twice = builtins.attrNames (builtins.intersectAttrs (into.${system} or { }) cells);
      in
      if twice == [ ] then
        (into.${system} or { }) // cells
      else
        throw ''croft: merge: the check "${builtins.head twice}" exists twice for ${system}. Next: give one of the matrices another `cellName`.''
    ) next;
in
builtins.foldl' join { } sets
