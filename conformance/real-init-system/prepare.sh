chmod 755 rootfs/init rootfs/etc/init.d/*
chmod 750 rootfs/etc/rc.d
