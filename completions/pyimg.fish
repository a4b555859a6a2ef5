# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pyimg_global_optspecs
    string join \n q/quiet color= h/help V/version
end

function __fish_pyimg_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pyimg_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pyimg_using_subcommand
    set -l cmd (__fish_pyimg_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pyimg -n "__fish_pyimg_needs_command" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_needs_command" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pyimg -n "__fish_pyimg_needs_command" -s V -l version -d 'Print version'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "build" -d 'Build an image: let Python import what you name, and store its memory'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "ls" -d 'List the images'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "show" -d 'Show all that is known about an image'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "rm" -d 'Remove images'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "pin" -d 'Keep images whatever the limits'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "unpin" -d 'Let images go like all others again'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "gc" -d 'Remove images that are of no use, and make the store small'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "verify" -d 'Check the store, and mend what can be mended'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "why" -d 'Say what `pyrun` would do with a command line, and why'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "stats" -d 'Tell what images have saved, and why programs ran without'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "dir" -d 'Print the directory of the store, which may be deleted at any time'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "doctor" -d 'Check what building and using images needs, and say what mends it'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "man" -d 'Write the man pages into a directory'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "consider" -d 'Look whether an image would help a program, and build it if that is wanted'
complete -c pyimg -n "__fish_pyimg_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l name -d 'The image\'s name (default: made from the Python version and the imports)' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l from -d 'Restore this image and let it import more: built faster, and shares its memory' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l python -d 'The interpreter (default: as a shell would find `python3`)' -r -f -a "(__fish_complete_command)"
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -s m -d 'Import what `python -m MODULE` would; may be given several times' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l script -d 'Import what this script imports, without running it' -r -F
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l store -d 'How its memory is kept: raw, which starts fastest, or zstd, compressed until the first run (default: raw; an image that is there already stays as it is)' -r -f -a "raw\t'As it is, to be mapped in place'
zstd\t'Compressed'"
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l terminals -d 'Standard descriptors that imports are to see as terminals, by number' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l force -d 'Build it even if it is there already and unchanged'
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -l json -d 'Print the result as JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand build" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand ls" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand ls" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand ls" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand ls" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand show" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand show" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand show" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand show" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand rm" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand rm" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand rm" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand rm" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand pin" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand pin" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand pin" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand pin" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand unpin" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand unpin" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand unpin" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand unpin" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -l max-size -d 'Disk space that the store may take, such as 500MB or 2GiB' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -l unused-for -d 'Remove images that no run has used for so long, such as 30d or 12h' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -l cold-after -d 'Compress images that no run has used for so long' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -s n -l dry-run -d 'Only show what would be done'
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand gc" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -l read-data -d 'Read every page and every file too, and compare them with their hashes'
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -l repair -d 'Set aside what is damaged, keep what is good, and make it work again'
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand verify" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand why" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand why" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand why" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand why" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand stats" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand stats" -l reset -d 'Count anew from now on; what was counted is shown once more'
complete -c pyimg -n "__fish_pyimg_using_subcommand stats" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand stats" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand stats" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand dir" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand dir" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand dir" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand dir" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand doctor" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand doctor" -l json -d 'Print JSON'
complete -c pyimg -n "__fish_pyimg_using_subcommand doctor" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand completions" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand completions" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand completions" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand man" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand man" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand man" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l program -d 'The program\'s id' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l memory -d 'What is known of it, if it is not in the store' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l stale -d 'The image that it would have started from, had nothing changed' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l terminals -d 'Which of its standard descriptors were terminals, by number' -r
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l color -d 'When to use colours: auto, always or never' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -l elsewhere -d 'Its image is for other variables, another directory or other terminals'
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -s q -l quiet -d 'Say only what was asked for and what went wrong'
complete -c pyimg -n "__fish_pyimg_using_subcommand consider" -s h -l help -d 'Print help'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "build" -d 'Build an image: let Python import what you name, and store its memory'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "ls" -d 'List the images'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "show" -d 'Show all that is known about an image'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "rm" -d 'Remove images'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "pin" -d 'Keep images whatever the limits'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "unpin" -d 'Let images go like all others again'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "gc" -d 'Remove images that are of no use, and make the store small'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "verify" -d 'Check the store, and mend what can be mended'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "why" -d 'Say what `pyrun` would do with a command line, and why'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "stats" -d 'Tell what images have saved, and why programs ran without'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "dir" -d 'Print the directory of the store, which may be deleted at any time'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "doctor" -d 'Check what building and using images needs, and say what mends it'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "completions" -d 'Print completions for a shell'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "man" -d 'Write the man pages into a directory'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "consider" -d 'Look whether an image would help a program, and build it if that is wanted'
complete -c pyimg -n "__fish_pyimg_using_subcommand help; and not __fish_seen_subcommand_from build ls show rm pin unpin gc verify why stats dir doctor completions man consider help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
