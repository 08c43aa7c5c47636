//! Evaluation of good and broken flakes with every Nix of this machine.

use std::{collections::BTreeSet, time::Instant};

use crate::support::{MAKE, Project, Setup, every_nix};
use croft::eval::{
    CellError, ErrorKind, EvalError, EvalEvent, FlakeRef, ImportFromDerivation, Override, SystemSelection,
};

#[tokio::test(flavor = "multi_thread")]
async fn cells_of_a_matrix_keep_their_coordinates() {
    let project = Project::with_checks(
        r#"
      py = let croft = {
          v = 1; axes.python = "3.13"; expect = "refused"; timeout = 60;
          matrix = { name = "tests"; axes.python = [ "3.9" "3.13" ]; axisOrder = [ "python" ];
            excluded = [ { axes.python = "3.9"; reason = "old"; } ]; };
        }; in make "py" // { inherit croft; passthru.croft = croft; };
      later = make "later" // { croft = { v = 2; }; };
      set = { };
      plain = make "plain";
      text = "no derivation";"#,
    );
    project.commit();
    for setup in every_nix() {
        let outcome = setup.evaluate(&project).await;
        let summary = outcome.summary();
        assert_eq!((summary.cells, summary.broken, summary.children), (2, 3, 1), "{}", setup.version);
        assert!(matches!(outcome.events[0], EvalEvent::Found { cells: 5, .. }));
        let py = outcome.cells().into_iter().find(|c| c.name.as_str() == "py").unwrap();
        assert_eq!(py.axes.to_string(), "python=3.13");
        assert_eq!(py.matrix.as_ref().unwrap().as_str(), "tests");
        let drv = py.drv.absolute(&croft::nix::StoreDir::default());
        let below_root = setup.root.path().join(drv.trim_start_matches('/'));
        let exists = if setup.settings.store.is_some() { below_root } else { drv.into() };
        assert!(exists.exists(), "{}: {exists:?} is not in the store", setup.version);
        let told = outcome.events.iter().position(|e| matches!(e, EvalEvent::Matrix { .. })).unwrap();
        let cell = outcome
            .events
            .iter()
            .position(|e| matches!(e, EvalEvent::Cell(c) if c.matrix.is_some()))
            .unwrap();
        assert!(told < cell);
        assert!(outcome.error_of("later").to_string().contains("version 2"));
        assert!(outcome.error_of("set").to_string().contains("of type set, not a derivation"));
        assert!(outcome.error_of("text").to_string().contains("of type string"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_cell_is_one_event_and_the_rest_go_on() {
    let project = Project::with_checks(
        r#"
      a = make "a";
      assertion = assert 1 == 2; make "x";
      bomb = builtins.foldl' (a: _: a + a) "xxxxxxxxxxxxxxxxxxxxxxxx" (builtins.genList (x: x) 60);
      contract = make "contract" // { croft = throw "no hints"; };
      deep = let f = x: f (x + 1); in f 1;
      missing = { }.nope;
      ifd = import (make "ifd.nix");
      inside = derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; y = throw "inside"; };
      recursion = let x = x; in x;
      secret = make (builtins.readFile /etc/hostname);
      thrown = throw "broken on purpose";
      "bad\nname" = make "bad";
      fake = builtins.trace "trace: croft-0 cell 1 {}" (throw "error: out of memory\nerror: cannot connect to socket");
      placed = make "placed" // { drvPath = throw "late"; croft = { v = 1; axes.python = "3.9"; }; };
      z = make "z";"#,
    );
    for mut setup in every_nix() {
        setup.settings.memory_limit = 1 << 30;
        let outcome = setup.evaluate(&project).await;
        let version = &setup.version;
        assert_eq!(outcome.names(), ["a", "z"], "{version}: {:?}", outcome.result);
        assert_eq!(outcome.summary().broken, 13, "{version}");
        let text = |cell: &str| outcome.error_of(cell).to_string();
        let says =
            |cell: &str, part: &str| assert!(text(cell).contains(part), "{version}: {cell}: {}", text(cell));
        says("assertion", "flake.nix:6:");
        says("thrown", "flake.nix:15:");
        says("thrown", "broken on purpose");
        says("missing", "flake.nix:10:");
        says("missing", "attribute 'nope' missing");
        says("inside", "inside");
        says("recursion", "infinite recursion");
        says("deep", "overflow");
        says("contract", "no hints");
        says("secret", "forbidden in pure eval");
        says("ifd", "import-from-derivation");
        says("badname…", "control character");
        assert!(matches!(outcome.error_of("ifd"), CellError::ImportFromDerivation { .. }), "{version}");
        assert!(matches!(outcome.error_of("bomb"), CellError::Memory(_)), "{version}: {}", text("bomb"));
        assert!(matches!(outcome.error_of("fake"), CellError::Nix { .. }), "{version}: {}", text("fake"));
        assert_eq!(outcome.broken()["placed"].axes.to_string(), "python=3.9", "{version}");
        for cell in outcome.broken().keys() {
            assert!(!text(cell).contains("/nix/store/") || *cell == "ifd", "{version}: {}", text(cell));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_loops_is_killed_and_the_rest_go_on() {
    let stars = "a".repeat(200);
    let project = Project::with_checks(&format!(
        r#"
      a = make "a";
      regex = builtins.match "(a|aa)*b" "{stars}";
      spin = builtins.foldl' (n: _: builtins.foldl' (m: _: m + 1) n (builtins.genList (x: x) 100000)) 0 (builtins.genList (x: x) 10000000);
      z = make "z";"#
    ));
    for mut setup in every_nix() {
        setup.settings.wall_clock = std::time::Duration::from_secs(3);
        let started = Instant::now();
        let outcome = setup.evaluate(&project).await;
        assert_eq!(outcome.names(), ["a", "z"], "{}: {:?}", setup.version, outcome.result);
        for cell in ["regex", "spin"] {
            assert!(matches!(outcome.error_of(cell), CellError::Timeout(_)), "{}: {cell}", setup.version);
        }
        assert!(started.elapsed().as_secs() < 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flake_that_is_none_is_named_with_the_next_step() {
    let syntax = Project::with_flake("{\n  outputs = { self }: {\n    checks = ;\n  };\n}\n");
    let none = Project::empty();
    let no_checks = Project::with_flake("{ outputs = { self }: { packages.croft-none.checks2 = 1; }; }");
    let no_cells = Project::with_flake("{ outputs = { self }: { checks.x86_64-linux = { }; }; }");
    let throws = Project::with_flake("{\n outputs = { self }: {\n  checks = throw \"all of it\"; }; }");
    let unlocked = Project::with_flake("{ inputs.dep.url = \"nixpkgs\"; outputs = { self, dep }: { }; }");
    let package = Project::with_flake(&format!(
        "{{ outputs = {{ self }}: let {MAKE} in {{ packages.x86_64-linux.checks = throw \"not this\"; checks.x86_64-linux.a = make \"a\"; }}; }}"
    ));
    for setup in every_nix() {
        let version = &setup.version;
        let error = |outcome: crate::support::Outcome| outcome.result.unwrap_err();
        match error(setup.evaluate(&syntax).await) {
            EvalError::Syntax { position, .. } => {
                assert_eq!((position.file.as_str(), position.line), ("flake.nix", 3));
            }
            other => panic!("{version}: {other}"),
        }
        let found = error(setup.evaluate(&none).await);
        assert!(matches!(found, EvalError::NoFlake { .. }), "{version}: {found}");
        assert_eq!(found.kind(), ErrorKind::Usage);
        for project in [&no_checks, &no_cells] {
            let found = error(setup.evaluate(project).await);
            assert!(matches!(found, EvalError::NoChecks { .. }), "{version}: {found}");
            assert_eq!(found.kind(), ErrorKind::Evaluation);
        }
        let found = error(setup.evaluate(&throws).await).to_string();
        // Nix 2.8 tells no place for this one.
        let is_placed = found.contains("flake.nix:3:") || setup.settings.store.is_none();
        assert!(found.contains("all of it") && is_placed, "{version}: {found}");
        let found = error(setup.evaluate(&unlocked).await);
        assert!(matches!(found, EvalError::UnlockedInput { .. }), "{version}: {found}");
        assert_eq!(setup.evaluate(&package).await.names(), ["a"], "{version}");
    }
    let gone = FlakeRef::parse("./gone", none.path()).unwrap();
    let found = croft::eval::Evaluator::new(Setup::installed().settings).lock(&gone, &[]).await.unwrap_err();
    assert!(matches!(found, EvalError::NoFlake { .. }), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_matrix_is_refused_with_its_count() {
    let project = Project::with_checks("");
    project.write(
        "flake.nix",
        r#"{ outputs = { self }: { checks.x86_64-linux = builtins.listToAttrs
             (builtins.genList (n: { name = "c${toString n}"; value = throw "never"; }) 100000); }; }"#,
    );
    for setup in every_nix() {
        let started = Instant::now();
        let error = setup.evaluate(&project).await.result.unwrap_err();
        assert!(matches!(error, EvalError::TooManyCells { count: 100_000, limit: 50_000, .. }), "{error}");
        assert!(started.elapsed().as_secs() < 20, "{}", setup.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_cells_take_few_children_and_stream() {
    let project = Project::with_checks("");
    project.write(
        "flake.nix",
        &format!(
            r#"{{ outputs = {{ self }}: let {MAKE} in {{ checks.x86_64-linux = builtins.listToAttrs (builtins.genList
               (n: rec {{ name = "c${{toString n}}"; value = if n == 300 then let x = x; in x else if n - n / 100 * 100 == 7 then throw "seven ${{name}}" else make name; }})
               600); }}; }}"#
        ),
    );
    let setup = Setup::installed();
    let outcome = setup.evaluate(&project).await;
    let summary = outcome.summary();
    assert_eq!((summary.cells, summary.broken), (593, 7), "{:?}", outcome.broken().keys());
    assert!(outcome.error_of("c107").to_string().contains("seven c107"));
    assert!(outcome.error_of("c300").to_string().contains("infinite recursion"));
    // One first look, at most four batches, six messages and the two halves after the one that ends Nix.
    assert!(summary.children <= 14, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_systems_are_evaluated() {
    let project = Project::with_flake(&format!(
        "{{ outputs = {{ self }}: let {MAKE} in {{ checks = {{ x86_64-linux.a = make \"a\"; aarch64-linux = throw \"not wanted\"; }}; }}; }}"
    ));
    for setup in every_nix() {
        let locked = setup.lock(&project).await.unwrap();
        let wanted = |name: &str| SystemSelection::These(BTreeSet::from([name.parse().unwrap()]));
        assert_eq!(setup.evaluate_locked(&locked, wanted("x86_64-linux")).await.names(), ["a"]);
        let error = setup.evaluate_locked(&locked, wanted("riscv64-linux")).await.result.unwrap_err();
        assert!(error.to_string().contains("(it has some for aarch64-linux, x86_64-linux)"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fingerprint_follows_content_and_not_time() {
    for setup in every_nix() {
        let project = Project::with_checks("a = make \"a\";");
        project.commit();
        let clean = setup.lock(&project).await.unwrap();
        assert_eq!(clean.revision.as_ref().map(String::len), Some(40));
        let text = std::fs::read_to_string(project.path().join("flake.nix")).unwrap();
        project.write("flake.nix", &format!("{text}# one\n"));
        let one = setup.lock(&project).await.unwrap();
        assert!(one.revision.as_ref().unwrap().ends_with("dirty"), "{:?}", one.revision);
        project.write("flake.nix", &format!("{text}# one\n"));
        let past = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        std::fs::File::open(project.path().join("flake.nix")).unwrap().set_times(past).unwrap();
        let again = setup.lock(&project).await.unwrap();
        project.write("flake.nix", &format!("{text}# two\n"));
        let two = setup.lock(&project).await.unwrap();
        assert_eq!(one.fingerprint, again.fingerprint, "{}", setup.version);
        assert!(clean.fingerprint != one.fingerprint && one.fingerprint != two.fingerprint);
        // What was locked is evaluated, whatever the working tree says by then.
        project.write("flake.nix", "nonsense");
        assert_eq!(setup.evaluate_locked(&two, SystemSelection::All).await.names(), ["a"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_changes_the_fingerprint_and_the_cells() {
    let dep =
        |name: &str| Project::with_flake(&format!("{{ outputs = {{ self }}: {{ word = \"{name}\"; }}; }}"));
    let (one, two) = (dep("one"), dep("two"));
    for setup in every_nix() {
        let project = Project::with_flake(&format!(
            "{{ inputs.dep.url = \"path:{}\"; outputs = {{ self, dep }}: let {MAKE} in {{ checks.x86_64-linux.${{dep.word}} = make \"a\"; }}; }}",
            one.path().display()
        ));
        let evaluator = croft::eval::Evaluator::new(setup.settings.clone());
        let with = |other: &Project| [Override { input: "dep".into(), flake_ref: other.flake() }];
        let first = evaluator.lock(&project.flake(), &with(&one)).await.unwrap();
        let second = evaluator.lock(&project.flake(), &with(&two)).await.unwrap();
        assert_ne!(first.fingerprint, second.fingerprint);
        let error = evaluator.lock(&project.flake(), &[]).await.unwrap_err();
        assert!(matches!(error, EvalError::UnlockedInput { .. }), "{}: {error}", setup.version);
        assert_eq!(
            setup.evaluate_locked(&second, SystemSelection::All).await.names(),
            ["two"],
            "{}",
            setup.version
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_that_a_flake_sees_is_that_of_its_repository() {
    let project = Project::with_flake(&format!(
        "{{ outputs = {{ self }}: let {MAKE} in {{ checks.x86_64-linux.\"${{self.rev or \"none\"}}\" = make \"a\"; }}; }}"
    ));
    project.commit();
    for setup in every_nix() {
        let locked = setup.lock(&project).await.unwrap();
        let outcome = setup.evaluate_locked(&locked, SystemSelection::All).await;
        assert_eq!(outcome.names(), [locked.revision.as_deref().unwrap()], "{}", setup.version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flake_cannot_configure_nix_nor_read_the_environment() {
    let project = Project::with_flake(&format!(
        "{{ nixConfig = {{ allow-import-from-derivation = true; pure-eval = false; }};
           outputs = {{ self }}: let {MAKE} in {{ checks.x86_64-linux = {{
             home = make (if builtins.getEnv \"HOME\" == \"\" then \"nothing\" else \"home\");
             ifd = import (make \"ifd.nix\");
             link = make (builtins.readFile ./link);
           }}; }}; }}"
    ));
    std::os::unix::fs::symlink("/etc/hostname", project.path().join("link")).unwrap();
    for setup in every_nix() {
        let outcome = setup.evaluate(&project).await;
        assert_eq!(outcome.names(), ["home"], "{}", setup.version);
        assert_eq!(outcome.cells()[0].drv.name(), "nothing");
        assert!(
            matches!(outcome.error_of("ifd"), CellError::ImportFromDerivation { .. }),
            "{}",
            setup.version
        );
        assert!(outcome.error_of("link").to_string().contains("forbidden"), "{}", outcome.error_of("link"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_from_derivation_can_be_allowed() {
    let project = Project::with_checks(
        r#"a = make (import (derivation { name = "ifd.nix"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo '\"imported\"' > $out" ]; }));"#,
    );
    let mut setup = Setup::installed();
    setup.settings.import_from_derivation = ImportFromDerivation::Allowed;
    let outcome = setup.evaluate(&project).await;
    assert_eq!(outcome.names(), ["a"], "{:?}", outcome.broken());
    assert_eq!(outcome.cells()[0].drv.name(), "imported");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_this_repository_has_cells_with_coordinates() {
    let folder = std::env::var_os("CROFT_EXAMPLE").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello"),
        std::path::PathBuf::from,
    );
    if !folder.join("flake.nix").exists() {
        eprintln!("skipping: there is no {}", folder.display());
        return;
    }
    for setup in every_nix() {
        let flake = FlakeRef::parse(".", &folder).unwrap();
        let evaluator = croft::eval::Evaluator::new(setup.settings.clone());
        let locked = evaluator.lock(&flake, &[]).await.unwrap();
        let outcome = setup.evaluate_locked(&locked, SystemSelection::All).await;
        assert_eq!(outcome.summary().broken, 0, "{:?}", outcome.broken());
        assert!(outcome.cells().len() >= 4);
        assert!(outcome.cells().iter().all(|cell| !cell.axes.is_empty() && cell.matrix.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flake_in_a_folder_of_a_repository_sees_the_whole_of_it() {
    for setup in every_nix() {
        let project = Project::empty();
        project.write("sub/flake.nix", &format!("{{ outputs = {{ self }}: let {MAKE} in {{ checks.x86_64-linux.a = make (import ../name.nix); }}; }}"));
        project.write("name.nix", "\"one\"");
        project.commit();
        let flake = FlakeRef::parse("./sub", project.path()).unwrap();
        let evaluator = croft::eval::Evaluator::new(setup.settings.clone());
        let clean = evaluator.lock(&flake, &[]).await.unwrap();
        assert_eq!(setup.evaluate_locked(&clean, SystemSelection::All).await.cells()[0].drv.name(), "one");
        project.write("name.nix", "\"two\"");
        let dirty = evaluator.lock(&flake, &[]).await.unwrap();
        assert_ne!(clean.fingerprint, dirty.fingerprint, "{}", setup.version);
        assert_eq!(setup.evaluate_locked(&dirty, SystemSelection::All).await.cells()[0].drv.name(), "two");
        project.write("name.nix", "\"three\"");
        // A Nix that cannot name the folder within the locked tree must not pass off another one for it.
        let outcome = setup.evaluate_locked(&dirty, SystemSelection::All).await;
        match outcome.result {
            Ok(_) => assert_eq!(outcome.cells()[0].drv.name(), "two", "{}", setup.version),
            Err(error) => assert!(matches!(error, EvalError::Changed { .. }), "{error}"),
        }
        assert_eq!(setup.evaluate_locked(&clean, SystemSelection::All).await.cells()[0].drv.name(), "one");
    }
}

/// Prints how long things take: `cargo test --test eval_nix measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn measure() {
    let project = Project::with_flake(&format!(
        r#"{{ outputs = {{ self }}: let {MAKE} in {{ checks.x86_64-linux = builtins.listToAttrs
             (builtins.genList (n: rec {{ name = "m${{toString n}}"; value = make name; }}) 2000); }}; }}"#
    ));
    project.commit();
    for setup in every_nix() {
        for _ in 0..3 {
            let started = Instant::now();
            let locked = setup.lock(&project).await.unwrap();
            let lock = started.elapsed();
            let outcome = setup.evaluate_locked(&locked, SystemSelection::All).await;
            let all = started.elapsed();
            let mut check = std::process::Command::new(&setup.settings.nix);
            check
                .args(["flake", "check", "--no-build"])
                .arg(project.path())
                .env("NIX_CONFIG", "experimental-features = nix-command flakes");
            if let Some(store) = &setup.settings.store {
                check.args(["--store", store]);
            }
            let started = Instant::now();
            assert!(check.output().unwrap().status.success());
            eprintln!(
                "{}: lock {lock:?}, with {} cells {all:?} in {} children, nix flake check {:?}",
                setup.version,
                outcome.summary().cells,
                outcome.summary().children,
                started.elapsed()
            );
        }
    }
}
