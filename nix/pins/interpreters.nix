# The Pythons. On nixpkgs the same names hold the same interpreters, as far as nixpkgs has them.
{
  python,
  package,
  enter,
  debian,
  pypi,
}:
let
  cpython =
    attr: pythonVersion:
    python {
      pname = "python";
      set = debian.${attr};
      wheels = pypi.${builtins.replaceStrings [ "python" ] [ "cp" ] attr};
      main = "python${pythonVersion}";
      executable = "python${pythonVersion}";
      inherit pythonVersion;
      names = [
        "python"
        "python${builtins.substring 0 1 pythonVersion}"
        "python${pythonVersion}"
      ];
    };
  pypy =
    attr: pythonVersion: tag: extra:
    python (
      extra
      // {
        pname = "pypy";
        set = debian.${attr};
        wheels = pypi.${tag};
        main = "pypy3";
        executable = "pypy3";
        implementation = "pypy";
        inherit pythonVersion;
        names = [
          "pypy3"
          "python"
          "python3"
        ];
        # What maintainer scripts would have made: ctypes.util.find_library reads the cache, _ssl wants the bundle.
        finish = ''
          ${enter}/bin/enter -w "$out" /usr/sbin/ldconfig
          mkdir -p etc/ssl/certs
          find usr/share/ca-certificates -name '*.crt' | sort | xargs cat > etc/ssl/certs/ca-certificates.crt
        '';
      }
    );
in
{
  python27 = cpython "python27" "2.7";
  python39 = cpython "python39" "3.9";
  python311 = cpython "python311" "3.11";
  python313 = cpython "python313" "3.13";
  python314 = cpython "python314" "3.14";
  python315 = cpython "python315" "3.15";
  pypy37 = pypy "pypy37" "3.7" "pp37" { stdlib = "/usr/lib/pypy3"; };
  pypy311 = pypy "pypy311" "3.11" "pp311" { }; # PyPy 7.3
  pypy311_80 = pypy "pypy311_80" "3.11" "pp311" { }; # PyPy 8.0, the same language version
  # Java's main class is named here and not through Debian's script, which wants more of the system.
  jython = package {
    pname = "jython";
    set = debian.jython;
    main = "jython";
    programs.jython = "/usr/share/croft/jython";
    finish = ''
      java=$(ls -d usr/lib/jvm/java-*-openjdk-amd64 | head -n 1)
      classes=/usr/share/jython/jython.jar
      for jar in usr/share/java/*.jar; do classes=$classes:/$jar; done
      {
        echo '#!/bin/sh'
        printf 'exec /%s/bin/java -Dpython.home=/usr/share/jython -Dpython.executable=/usr/bin/jython ' "$java"
        printf '%s -cp %s org.python.util.jython "$@"\n' '-Dpython.cachedir="''${TMPDIR:-/tmp}/jython"' "$classes"
      } > usr/share/croft/jython
      chmod 755 usr/share/croft/jython
    '';
  };
}
