# Completion of abctl for fish: abctl itself knows its commands, slot sets and versions.

function __abctl_complete
    set -l token (commandline --current-token)
    set -l program (commandline --tokenize --current-process)[1]
    for line in (env COMP_WORDS=(commandline --cut-at-cursor --current-process) COMP_CWORD=$token \
            _ABCTL_COMPLETE=fish_complete $program 2>/dev/null)
        set -l parts (string split --max 1 , -- $line)
        switch $parts[1]
            case plain
                echo $parts[2]
            case dir
                __fish_complete_directories $token
            case file
                __fish_complete_path $token
        end
    end
end

complete --command abctl --no-files --arguments '(__abctl_complete)'
