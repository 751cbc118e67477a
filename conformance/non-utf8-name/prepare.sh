printf x > d/$(printf "\351t\351")
