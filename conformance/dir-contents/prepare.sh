chmod 700 dir/sub; chmod 750 dir
