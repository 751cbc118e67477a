ln d/a d/b
