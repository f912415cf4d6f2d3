"""Put the zoom and unzoom of a warp around any PyTorch network, without touching its code.

Hooks, the check of cut points and the measurement of where cells lie are here. Networks of this
package's own tasks (`lzu_export.models`) have their zoom built in and need none of it.
"""
