"""`wherry ui`: a page in the browser for what this machine knows of jobs, images and targets."""
