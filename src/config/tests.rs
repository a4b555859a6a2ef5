use super::*;

/// The settings of a home with this file, and with these variables.
fn config(file: &str, variables: &[(&str, &str)]) -> Result<Config> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".config/pyimg/config.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, file).unwrap();
    let result = Config::from(|name| match name {
        "HOME" => Some(home.path().into()),
        name => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
    });
    // The home's path is another one each time.
    result.map_err(|error| {
        assert_eq!(error.exit_code(), 2);
        Error::usage(error.to_string().replace(home.path().to_str().unwrap(), "HOME"))
    })
}

fn wrong(file: &str, variables: &[(&str, &str)]) -> String {
    config(file, variables).unwrap_err().to_string()
}

const HOUR: u64 = 3600;

#[test]
fn without_a_file_there_are_defaults() {
    let day = 24 * HOUR;
    let defaults = Config {
        max_size: Some(10_000_000_000),
        unused_for: Some(Duration::from_secs(30 * day)),
        cold_after: Some(Duration::from_secs(7 * day)),
        auto_gc: true,
        build: Policy::Ask,
        build_priority: Priority::Low,
    };
    assert_eq!(Config::from(|_| None).unwrap(), defaults);
    assert_eq!(config("", &[]).unwrap(), defaults);
    assert_eq!(config("# nothing\n", &[("PYIMG_MAX_SIZE", "")]).unwrap(), defaults);
}

#[test]
fn variables_are_stronger_than_the_file() {
    let file =
        "max-size = \"2GiB\"\nunused-for = \"2w\"\ncold-after = \"never\"\nauto-gc = false\n";
    let set = config(file, &[]).unwrap();
    let expected = Config {
        max_size: Some(2 << 30),
        unused_for: Some(Duration::from_secs(14 * 24 * HOUR)),
        cold_after: None,
        auto_gc: false,
        ..Config::default()
    };
    assert_eq!(set, expected);
    let variables = [
        ("PYIMG_MAX_SIZE", "unlimited"),
        ("PYIMG_UNUSED_FOR", "never"),
        ("PYIMG_COLD_AFTER", "90min"),
        ("PYIMG_AUTO_GC", "1"),
    ];
    let expected = Config {
        max_size: None,
        unused_for: None,
        cold_after: Some(Duration::from_secs(90 * 60)),
        auto_gc: true,
        build: Policy::Ask,
        build_priority: Priority::Low,
    };
    assert_eq!(config(file, &variables).unwrap(), expected);
}

#[test]
fn the_file_is_where_it_is_said() {
    let place = |variables: &[(&str, &str)]| {
        path(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    };
    let all = [("PYIMG_CONFIG", "c.toml"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(place(&all), Some(("c.toml".into(), true)));
    assert_eq!(place(&all[1..]), Some(("/x/pyimg/config.toml".into(), false)));
    assert_eq!(place(&all[2..]), Some(("/h/.config/pyimg/config.toml".into(), false)));
    assert_eq!(place(&[("XDG_CONFIG_HOME", "x")]), None);
    let error = config("", &[("PYIMG_CONFIG", "/nonexistent/c.toml")]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration /nonexistent/c.toml: No such"));
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_what_is_right() {
    let file = "the configuration HOME/.config/pyimg/config.toml";
    let sizes = "it is a size such as 500MB, 10GB or 2GiB, or \"unlimited\"";
    let durations = "it is a duration such as 30d, 12h or 90min, or \"never\"";
    let said = |line, what: &str| format!("{file}, line {line}: {what}");
    assert_eq!(
        wrong("# mine\n\nmax-size = \"ten\"\n", &[]),
        said(3, &format!("max-size cannot be \"ten\"; {sizes}"))
    );
    assert_eq!(wrong("max-size = 5", &[]), said(1, &format!("max-size cannot be 5; {sizes}")));
    assert_eq!(
        wrong("max-size = 0\nunused-for = \"2 months\"", &[]),
        said(2, &format!("unused-for cannot be \"2 months\"; {durations}"))
    );
    assert_eq!(
        wrong("cold-after = \"-3d\"", &[]),
        said(1, &format!("cold-after cannot be \"-3d\"; {durations}"))
    );
    assert_eq!(
        wrong("auto-gc = \"yes\"", &[]),
        said(1, "auto-gc cannot be \"yes\"; it is true or false")
    );
    assert_eq!(
        wrong("auto-gc = true\nmaxsize = 1\n", &[]),
        said(
            2,
            "unknown field `maxsize`, expected one of `max-size`, `unused-for`, `cold-after`, \
             `auto-gc`, `build`, `build-priority`"
        )
    );
    let broken = wrong("auto-gc = true\nmax-size = \n", &[]);
    assert!(broken.starts_with(&said(2, "")), "{broken}");
}

#[test]
fn a_wrong_variable_is_named() {
    assert_eq!(
        wrong("", &[("PYIMG_MAX_SIZE", "ten")]),
        "PYIMG_MAX_SIZE cannot be \"ten\"; \
         it is a size such as 500MB, 10GB or 2GiB, or \"unlimited\""
    );
    assert_eq!(
        wrong("", &[("PYIMG_AUTO_GC", "yes")]),
        "PYIMG_AUTO_GC cannot be \"yes\"; it is true or false (or 1 or 0)"
    );
}

#[test]
fn sizes_and_durations() {
    let sizes = [("0", 0), ("500MB", 500_000_000), ("2GiB", 2 << 30), ("1.5 GB", 1_500_000_000)];
    for (text, bytes) in sizes {
        assert_eq!(parse_size(text).unwrap(), Limit(Some(bytes)), "{text}");
    }
    for bad in ["", "ten", "-1GB", "5 apples"] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
    let durations = [
        ("0", 0),
        ("30d", 30 * 24 * HOUR),
        ("12h", 12 * HOUR),
        ("90min", 5400),
        ("2 weeks", 14 * 24 * HOUR),
        ("1d 12h", 36 * HOUR),
        ("45s", 45),
    ];
    for (text, seconds) in durations {
        assert_eq!(
            parse_duration(text).unwrap(),
            Limit(Some(Duration::from_secs(seconds))),
            "{text}"
        );
    }
    for bad in ["", "30", "soon", "-1d", "1 month", "1 year"] {
        assert!(parse_duration(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_duration("never").unwrap(), Limit(None));
}

#[test]
fn what_is_done_about_programs_without_an_image() {
    let builds = |file: &str, variables: &[(&str, &str)]| {
        let config = config(file, variables).unwrap();
        (config.build, config.build_priority)
    };
    assert_eq!(builds("", &[]), (Policy::Ask, Priority::Low));
    let file = "build = \"auto\"\nbuild-priority = \"normal\"\n";
    assert_eq!(builds(file, &[]), (Policy::Auto, Priority::Normal));
    let variables = [("PYIMG_BUILD", "off"), ("PYIMG_BUILD_PRIORITY", "low")];
    assert_eq!(builds(file, &variables), (Policy::Off, Priority::Low));
    assert_eq!(
        wrong("build = true\n", &[]),
        "the configuration HOME/.config/pyimg/config.toml, line 1: build cannot be true; it is \
         \"off\", \"ask\" or \"auto\""
    );
    assert_eq!(
        wrong("", &[("PYIMG_BUILD", "yes")]),
        "PYIMG_BUILD cannot be \"yes\"; it is \"off\", \"ask\" or \"auto\""
    );
    assert_eq!(
        wrong("build-priority = \"idle\"\n", &[]),
        "the configuration HOME/.config/pyimg/config.toml, line 1: build-priority cannot be \
         \"idle\"; it is \"low\" or \"normal\""
    );
}
