"""The desktop's end of a notification: takes one over D-Bus and prints it as a line of JSON."""
import json

from gi.repository import Gio, GLib

INTERFACE = """
<node><interface name="org.freedesktop.Notifications">
  <method name="Notify">
    <arg type="s" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
    <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="as" direction="in"/>
    <arg type="a{sv}" direction="in"/><arg type="i" direction="in"/>
    <arg type="u" direction="out"/>
  </method>
  <method name="GetServerInformation">
    <arg type="s" direction="out"/><arg type="s" direction="out"/>
    <arg type="s" direction="out"/><arg type="s" direction="out"/>
  </method>
</interface></node>"""

loop = GLib.MainLoop()


def called(connection, sender, path, interface, method, parameters, invocation):
    if method == "GetServerInformation":
        return invocation.return_value(GLib.Variant("(ssss)", ("test", "test", "1", "1.2")))
    print(json.dumps(parameters.unpack()), flush=True)
    invocation.return_value(GLib.Variant("(u)", (1,)))
    connection.flush_sync(None)
    loop.quit()


def acquired(connection, name):
    info = Gio.DBusNodeInfo.new_for_xml(INTERFACE).interfaces[0]
    connection.register_object("/org/freedesktop/Notifications", info, called, None, None)


Gio.bus_own_name(Gio.BusType.SESSION, "org.freedesktop.Notifications", Gio.BusNameOwnerFlags.NONE,
                 acquired, None, None)
GLib.timeout_add_seconds(10, loop.quit)
loop.run()
