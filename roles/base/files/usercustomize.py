"""Python remembers what it compiled of Ansible's modules, which come as sources in a zip file, anew with every task.

Compiling them, twice as zipimport does, is half of the time of a module that changes nothing. What is remembered is found by the
checksum of its source, so another version of Ansible has entries of its own. Whatever is amiss with an entry, Python compiles.
"""

import sys

# A script on standard input, without a name: pipelining. All else that root runs starts as ever.
if sys.orig_argv[1:] == []:
    import hashlib
    import marshal
    import os
    import zipimport

    MEMORY = f"/var/cache/ansible/{sys.implementation.cache_tag}"

    class RememberingImporter(zipimport.zipimporter):
        """Imports from a zip file; asked first for every entry of sys.path."""

        def get_code(self, fullname):
            entry = f"{MEMORY}/{hashlib.sha256(self.get_source(fullname).encode()).hexdigest()}"
            try:
                with open(entry, "rb") as file:
                    return marshal.load(file)  # noqa: S302 # root alone writes there
            except (OSError, EOFError, TypeError, ValueError):
                pass
            code = super().get_code(fullname)
            unfinished = f"{entry}.{os.getpid()}"
            try:
                os.makedirs(MEMORY, 0o700, exist_ok=True)
                with open(unfinished, "wb") as file:
                    marshal.dump(code, file)
                os.replace(unfinished, entry)
            except OSError:  # no room: without it, then
                pass
            return code

        def get_filename(self, fullname):
            """As zipimporter has it, which compiles the module to tell where it is."""
            path = os.path.join(self.archive, self.prefix, fullname.rpartition(".")[2])
            return path + ("/__init__.py" if self.is_package(fullname) else ".py")

    sys.path_hooks.insert(0, RememberingImporter)
