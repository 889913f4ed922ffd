"""The share on a real NFS: ``python -m tests.nfs``. ``docs/how-to/nfs.md`` says what was reached and what follows."""
