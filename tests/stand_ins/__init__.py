"""Servers and proxies in place of real ones: for what no real one can be brought to do, and for thousands of runs.

server.py          HTTP, one answer for each connection, as a test says; or silence
failing_triton.py  a Triton over HTTP that keeps connections, fails, hangs and forgets
triton.py          a Triton over gRPC for matrices of thousands of runs
links.py           a proxy in front of a real server whose link fails: HTTP, and gRPC frame by frame
between.py         a proxy in front of a real Triton that takes over single gRPC calls
liar.py            a proxy in front of a real gateway that names another version
http_proxy.py      what HTTPS_PROXY names: notes where it was asked to go, and goes there
tls.py             a private authority, and a certificate of it for this machine
forgetful_s3.py, ftp.py, merged.py   object storage, FTP, a merged change
"""
