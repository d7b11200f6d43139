"""The checks of `meterport doctor`: does this process find what it needs, and if not, what is to be done?"""
