# What croft reads about a derivation besides the derivation: `drv.croft`, also `drv.passthru.croft`.
# None of it is an input of the derivation, so a changed hint changes no key.
let
  outcomes = [
    "pass"
    "fail"
    "refused"
  ];

  list = builtins.concatStringsSep ", ";
  positive = n: builtins.isInt n && n > 0;

  known = {
    expect = e: if builtins.elem e outcomes then null else "must be one of ${list outcomes}";
    timeout = t: if t == null || positive t then null else "must be a whole number of seconds above 0, or null";
    external = e: if builtins.isBool e then null else "must be true or false";
    resources = resourcesProblem;
  };

  resourcesProblem =
    r:
    if !builtins.isAttrs r then
      "must be a set of cores, memory (MiB) and disk (MiB)"
    else
      let
        strange = builtins.attrNames (removeAttrs r (builtins.attrNames noResources));
        wrong = builtins.filter (k: !(r.${k} == null || positive r.${k})) (builtins.attrNames r);
      in
      if strange != [ ] then
        "has no part '${builtins.head strange}'; the parts are cores, memory (MiB) and disk (MiB)"
      else if wrong != [ ] then
        "has a '${builtins.head wrong}' that is not a whole number above 0 (memory and disk are in MiB)"
      else
        null;

  noResources = {
    cores = null;
    memory = null;
    disk = null;
  };

  checked =
    what: name: value:
    let
      problem = known.${name} value;
    in
    if !(known ? ${name}) then
      throw "croft: ${what}: unknown hint '${name}'. Next: use one of ${list (builtins.attrNames known)}."
    else if problem != null then
      throw "croft: ${what}: ${name} ${problem}."
    else
      value;

  # A value that carries `croft`, both directly and where nixpkgs keeps such things.
  attach =
    drv: croft:
    drv
    // {
      inherit croft;
      passthru = (drv.passthru or { }) // {
        inherit croft;
      };
    };
in
{
  inherit attach;

  isDerivation = d: builtins.isAttrs d && d.type or null == "derivation";

  # annotate { timeout = 600; resources.memory = 2048; } drv
  annotate =
    hints: drv:
    let
      good = builtins.mapAttrs (checked "annotate ${drv.name or "?"}") hints;
    in
    builtins.deepSeq good (attach drv ((drv.croft or { }) // good));

  # All hints of a derivation, complete.
  hintsOf =
    drv:
    let
      own = drv.croft or drv.passthru.croft or { };
    in
    {
      expect = own.expect or "pass";
      timeout = own.timeout or drv.meta.timeout or null;
      resources = noResources // own.resources or { };
      external = own.external or false;
      requiredSystemFeatures = drv.requiredSystemFeatures or [ ];
    };
}
