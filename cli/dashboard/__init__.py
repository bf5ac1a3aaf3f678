"""The page of `atlas watch`: what run directories say, followed as they grow, and never touched."""
