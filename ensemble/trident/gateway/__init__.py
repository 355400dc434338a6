"""A door in front of tritonserver: it lets inference and questions through, and what tritonserver does not survive not.

It needs the base install only, knows one address of a tritonserver, and holds nothing: `checks` says what may pass,
`http_door` and `grpc_door` pass it on, `running` opens both.
"""
