mkdir .git && printf h > .git/HEAD
