# An interpreter with `pkgs` and `withPackages`, as in nixpkgs: packages are wheels, unpacked and compiled once each.
{
  package,
  enter,
  runCommand,
  fetchPin,
}:
{
  pname,
  set, # the pins of the root
  wheels, # the pins of the wheels
  main, # the Debian package whose version this is
  executable, # in the root's /usr/bin
  names, # what it is called in bin/
  pythonVersion,
  implementation ? "cpython",
  stdlib ? "/usr/lib/${if implementation == "pypy" then "pypy" else "python"}${pythonVersion}",
  finish ? "",
}:
let
  library = "${if implementation == "pypy" then "pypy" else "python"}${pythonVersion}";
  sitePackages = "lib/${library}/site-packages";
  # Debian's interpreters look here whatever PYTHONPATH says, and so do all children of a test.
  local = "/usr/local/lib/${library}/dist-packages";
  # A compiled file notes the time of its source, which is 1 for everything in a store.
  compile = options: folder: ''
    find . -name '*.py' -exec touch -h -d @1 {} +
    ${enter}/bin/enter ${options} /usr/bin/${executable} -m compileall -q ${folder} > "$NIX_BUILD_TOP/compile.log" 2>&1 \
      || tail -n 3 "$NIX_BUILD_TOP/compile.log"
  '';

  base = package {
    inherit pname set main;
    programs = builtins.listToAttrs (
      map (name: {
        inherit name;
        value = "/usr/bin/${executable}";
      }) names
    );
    finish = ''
      mkdir -p "$out${local}"
      ${finish}
      ${compile ''-w "$out"'' stdlib}
    '';
  };

  wheel =
    name: pin:
    runCommand "${library}-${name}-${pin.version}" { } ''
      mkdir -p "$out/${sitePackages}"
      cd "$out/${sitePackages}"
      unzip -q ${fetchPin pin}
      ${compile "${base.root}" "."}
    ''
    // {
      pname = name;
      inherit (pin) version;
      pythonModule = base;
      requiredPythonModules = builtins.concatMap (
        need: [ modules.${need} ] ++ modules.${need}.requiredPythonModules
      ) pin.needs;
    };
  modules = builtins.mapAttrs wheel wheels.pins;
  pkgs =
    modules
    // (if modules ? psycopg2-binary then { psycopg2 = modules.psycopg2-binary; } else { })
    // {
      python = interpreter;
      toPythonModule = drv: drv // { pythonModule = base; };
    };

  withPackages =
    choose:
    let
      needed = builtins.concatMap (m: [ m ] ++ (m.requiredPythonModules or [ ])) (choose pkgs);
      distinct = builtins.attrValues (
        builtins.listToAttrs (
          map (m: {
            name = builtins.unsafeDiscardStringContext m.outPath;
            value = m;
          }) needed
        )
      );
    in
    runCommand "${pname}-${base.version}-env" { modules = distinct; } ''
      mkdir -p "$out/bin" "$out/${sitePackages}"
      for module in $modules; do
        for entry in "$module/${sitePackages}"/*; do
          name=''${entry##*/}
          [ "$name" != __pycache__ ] || continue
          [ ! -e "$out/${sitePackages}/$name" ] || { echo "croft: two Python packages have a file $name: $entry" >&2; exit 1; }
          ln -s "$entry" "$out/${sitePackages}/$name"
        done
      done
      for name in ${toString names}; do
        printf '#!%s ash\nexec %s -b %s %s %s %s "$@"\n' ${enter.busybox}/bin/busybox ${enter}/bin/enter \
          "$out/${sitePackages}" ${local} ${base.root} /usr/bin/${executable} > "$out/bin/$name"
        chmod 755 "$out/bin/$name"
      done
    ''
    // shape
    // {
      inherit (base) pname version;
      python = interpreter;
    };
  shape = {
    inherit
      executable
      implementation
      pythonVersion
      sitePackages
      ;
  };
  interpreter =
    base
    // shape
    // {
      interpreter = "${base}/bin/${executable}";
      inherit pkgs withPackages;
      wheelPins = wheels.pins;
    };
in
interpreter
