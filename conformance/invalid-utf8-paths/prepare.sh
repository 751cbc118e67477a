printf x > "$(printf '\377')"
