"""The search for a peak lr by paired Trials: one for ``find_lr`` and Autopilot.

``trials`` says how a Trial is flown and read, ``walk`` where the next one goes, ``prior`` what is expected before the
first, ``pick`` what the losses say together with it. All pure; a policy asks for the Trials.
"""
